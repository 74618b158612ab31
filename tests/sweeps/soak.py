"""Three runners on one queue, killed at random moments: `python -m tests.sweeps.soak --seconds 300`.

A campaign is a sweep of short stand-in trainings that three runners work off, two at a time each, while one of the
runners after another is killed (alone, or with its trainings), asked to end, or suspended for a while, and started
again. It ends when every cell has finished; then the next begins. What went wrong is listed: a cell that finished twice
or was lost, two trainings in one folder, a start that did not go on.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import yaml

FAKE = Path(__file__).with_name("fake_training.py")
KINDS = {"runner": 4, "tree": 4, "term": 2, "stop": 2}  # how often each way of disturbing a runner comes
ENDS = {0, -signal.SIGKILL, -signal.SIGTERM, 130}  # of a runner that was not at fault


@dataclass
class Account:
    """What was done and what went wrong."""

    campaigns: int = 0
    cells: int = 0
    starts: int = 0
    resumed: int = 0
    disturbed: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.disturbed.items()))
        return (
            f"{self.campaigns} campaigns, {self.cells} cells finished, {self.starts} trainings started "
            f"({self.resumed} resumed), runners disturbed: {kinds}; wrong: {len(self.wrong)} {self.wrong[:5]}"
        )


class Campaign:
    """One sweep in a folder of its own.

    Args:
        folder: Where the sweep file and its runs go.
        cells: How many cells it has.
        storage: `journal` or `sqlite`.
        seconds: Length of a training.
        pause: Seconds between two disturbances, at most.
    """

    def __init__(self, folder: Path, cells: int, storage: str, seconds: float, pause: float) -> None:
        self.folder, self.cells, self.pause = folder, cells, pause
        folder.mkdir(parents=True)
        parameters = {"seed_everything": {"values": list(range(cells))}, "data.wait": {"value": seconds}}
        command = ["${env}", "${interpreter}", str(FAKE), "fit", "${args}"]
        (folder / "q.yaml").write_text(yaml.safe_dump({"method": "grid", "command": command, "parameters": parameters}))
        database = [f"--storage=sqlite:///{folder / 'q.db'}"] if storage == "sqlite" else []
        self.call = [sys.executable, "-m", "lightning_app", "sweep", "q.yaml", "--jobs=2", *database]
        self.runs = folder / "runs" / "q"
        self.account = Account()
        self.logs = 0

    def start(self) -> "subprocess.Popen[bytes]":
        """A runner; its text goes to a file of its own."""
        self.logs += 1
        with (self.folder / f"runner{self.logs}.log").open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(FAKE.parents[2])}
            return subprocess.Popen(self.call, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def ended(self, runner: "subprocess.Popen[bytes]") -> bool:
        """Whether a runner has ended; a wrong end is noted."""
        code = runner.poll()
        if code is not None and code not in ENDS:
            self.account.wrong.append(f"a runner ended with {code}")
        return code is not None

    def finished(self) -> int:
        """Cells whose run folder says that they have finished."""
        return sum("finished" in path.read_text() for path in self.runs.glob("seed*/state.json"))

    def run(self, dice: random.Random, until: float) -> Account:
        """Disturb and restart runners until all cells have finished, or the time is up; then let the rest finish."""
        runners = [self.start() for _ in range(3)]
        while self.finished() < self.cells and time.monotonic() < until:
            time.sleep(dice.uniform(0.1, self.pause))
            place = dice.randrange(3)
            if not self.ended(runners[place]):
                kind = dice.choices(list(KINDS), KINDS.values())[0]
                disturb(runners[place], kind, dice.uniform(0.2, 1.5))
                self.account.disturbed[kind] += 1
            runners = [self.start() if self.ended(runner) else runner for runner in runners]
        for runner in runners:
            self._close(runner)
        self._close(self.start())
        return self._check()

    def _close(self, runner: "subprocess.Popen[bytes]") -> None:
        try:
            runner.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.account.wrong.append("a runner hung")
            runner.kill()
            runner.wait()
        self.ended(runner)

    def _check(self) -> Account:
        account, events = self.account, Counter()
        for line in (self.runs / "events.log").read_text().splitlines():
            name, word = line.split()
            events[name, word] += 1
        starts = (self.runs / "starts.log").read_text().splitlines()
        account.campaigns, account.cells, account.starts = 1, self.finished(), len(starts)
        account.resumed = sum(" resumed " in line for line in starts)
        names = {name for name, _ in events}
        if account.cells != self.cells or len(names) != self.cells:
            account.wrong.append(f"{account.cells} of {self.cells} cells finished, {len(names)} ran")
        account.wrong += [
            f"{name} {word} {events[name, word]}" for name, word in events if word in ("overlap", "again")
        ]
        account.wrong += [f"{name} ended twice" for name in names if events[name, "end"] > 1]
        last = (self.folder / f"runner{self.logs}.log").read_text()
        if f"\n{self.cells} finished\n" not in last:
            account.wrong.append(f"the last runner's table: {last[-200:]}")
        return account


def disturb(runner: "subprocess.Popen[bytes]", kind: str, pause: float) -> None:
    """Kill a runner alone or with its trainings, ask it to end, or suspend it for a while."""
    if kind == "stop":
        runner.send_signal(signal.SIGSTOP)
        time.sleep(pause)
        runner.send_signal(signal.SIGCONT)
        return
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    trainings = [int(pid) for pid in children.read_text().split()] if kind == "tree" and children.exists() else []
    runner.send_signal(signal.SIGTERM if kind == "term" else signal.SIGKILL)
    for pid in trainings:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    runner.wait(timeout=60)


def soak(
    folder: Path, storage: str, seconds: float, seed: int, cells: int = 60, length: float = 0.3, pause: float = 1.2
) -> Account:
    """Campaign after campaign until the time is up.

    Args:
        folder: An empty folder.
        storage: `journal` or `sqlite`.
        seconds: How long runners are disturbed.
        seed: Of what is done when to whom.
        cells: Cells of a campaign.
        length: Seconds of a training.
        pause: Seconds between two disturbances, at most.
    """
    total, dice, until = Account(), random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < until:
        one = Campaign(folder / f"campaign{total.campaigns}", cells, storage, length, pause).run(dice, until)
        total.campaigns += 1
        total.cells += one.cells
        total.starts += one.starts
        total.resumed += one.resumed
        total.disturbed += one.disturbed
        total.wrong += one.wrong
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Three runners on one queue, killed at random moments.")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--storage", choices=("journal", "sqlite"), default="journal")
    parser.add_argument("--pause", type=float, default=1.2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        account = soak(Path(folder), options.storage, options.seconds, options.seed, pause=options.pause)
    sys.stdout.write(f"{options.storage}: {account}\n")
    raise SystemExit(bool(account.wrong))


if __name__ == "__main__":
    main()
