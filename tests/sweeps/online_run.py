"""A program that `wandb agent` starts in the tests: one online run with the real client, quick, failing on demand."""

import os
import sys
import time
from pathlib import Path

import wandb


def main() -> None:
    options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    with Path("argv.log").open("a") as log:
        log.write(f"{os.environ['WANDB_RUN_ID']} {' '.join(sys.argv[1:])}\n")
    run = wandb.init(project="other", settings=wandb.Settings(console="off", x_disable_stats=True))
    run.log({"val/ece": float(options["seed_everything"]) / 10})
    time.sleep(float(options.get("wait", 0)))
    run.finish()
    if options["seed_everything"] == options.get("fail"):
        raise SystemExit(3)


if __name__ == "__main__":
    main()
