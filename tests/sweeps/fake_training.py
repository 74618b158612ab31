"""Stands in for a training in the tests of the runner: the same folder, a fraction of a second, faults on demand.

Behaviour is chosen by arguments: `--data.fail=true` ends with an error, `--data.wait=SECONDS` stops half-way. Beside
the run folders it keeps `starts.log`, a line a start, and `events.log`: `begin` and `end` of each, `overlap` where
another training was in the folder, `again` where the folder's run had finished before.
"""

import fcntl
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
        write(folder / "options.json", json.dumps(options))
    (folder / "pid").write_text(str(os.getpid()))
    append(folder, "starts.log", "resumed" if resumed else "new", os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
    alone = watch(folder)
    train(folder, options, resumed)
    append(folder, "events.log", "end")
    os.close(alone)


def watch(folder: Path) -> int:
    """Tell who else is or was here; the file stays open, and locked, until this process ends."""
    held = os.open(folder.parent / f"{folder.name}.alone", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        append(folder, "events.log", "overlap")
    state = folder / "state.json"
    append(folder, "events.log", "again" if state.is_file() and "finished" in state.read_text() else "begin")
    return held


def train(folder: Path, options: dict[str, str], resumed: bool) -> None:
    write(folder / "state.json", '{"status": "running"}')
    if options.get("data.fail") == "True":
        raise SystemExit("the data are not there")
    (folder / "checkpoints").mkdir(exist_ok=True)
    wait = float(options.get("data.wait", 0))
    if not resumed:
        time.sleep(min(wait, 0.1))
    (folder / "checkpoints" / "last.ckpt").touch()
    if not resumed:
        time.sleep(max(0.0, wait - 0.1))
    (folder / "val").mkdir(exist_ok=True)
    ece = (float(options.get("model.gamma", 1)) - 2) ** 2
    write(folder / "val" / "summary.csv", f"metric,class,mean,low,high,n\nece,all,{ece},0,1,3\n")
    write(folder / "state.json", '{"status": "finished", "wall_seconds": 1.0}')


def write(path: Path, text: str) -> None:
    """Write a file so that a kill leaves it whole or not there."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)


def append(folder: Path, log: str, *words: str) -> None:
    """A line about the run in a log beside the run folders, in one write."""
    file = os.open(folder.parent / log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{' '.join([folder.name, *words])}\n".encode())
    os.close(file)


if __name__ == "__main__":
    main()
