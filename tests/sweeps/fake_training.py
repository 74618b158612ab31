"""Stands in for a training in the tests of the runner: the same folder, a fraction of a second, faults on demand.

Behaviour is chosen by arguments: `--data.fail=true` ends with an error, `--data.wait=SECONDS` stops half-way.
"""

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
    resumed = "--resume" in sys.argv
    folder = Path(sys.argv[-1]) if resumed else Path(options["runs_dir"]) / options["run_name"]
    if resumed:
        options = json.loads((folder / "options.json").read_text())
    else:
        folder.mkdir(parents=True)
        (folder / "options.json").write_text(json.dumps(options))
    (folder / "pid").write_text(str(os.getpid()))
    with (folder.parent / "starts.log").open("a") as log:
        log.write(f"{folder.name} {'resumed' if resumed else 'new'} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
    (folder / "state.json").write_text('{"status": "running"}')
    if options.get("data.fail") == "True":
        raise SystemExit("the data are not there")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    if not resumed:
        time.sleep(float(options.get("data.wait", 0)))
    (folder / "val").mkdir(exist_ok=True)
    ece = (float(options.get("model.gamma", 1)) - 2) ** 2
    (folder / "val" / "summary.csv").write_text(f"metric,class,mean,low,high,n\nece,all,{ece},0,1,3\n")
    (folder / "state.json").write_text('{"status": "finished", "wall_seconds": 1.0}')


if __name__ == "__main__":
    main()
