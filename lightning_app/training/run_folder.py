"""The folder of one run: where each file lies, how the folder is made, and its state."""

import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lightning_app.errors import UserError
from lightning_app.files import PART, DiskFull, remove_leftovers, write_text
from lightning_app.system.lock import CLAIM, claim

log = logging.getLogger(__name__)
BEFORE_A_CHECKPOINT = frozenset(
    [CLAIM, "config.yaml", "command.txt", "split.csv", "metrics.csv", "epochs.csv", "progress.png", "state.json"]
) | {"checkpoints", "wandb", "figures"}
STAGES = ("val", "test")  # the parts that are evaluated, each with a folder of its own
OLD_NAMES = frozenset({"pooled", "ece_foreground_region", "foreground.top_label.count"})


@dataclass
class RunFolder:
    """Places of the files of one run.

    A run folder holds `config.yaml`, `command.txt`, `split.csv`, `metrics.csv`, `state.json`, `checkpoints/`, and for
    each evaluated stage `per_case.csv`, `summary.csv`, `bins.npz` and `figures/`.

    Args:
        path: The folder.
        tested: Name of the test stage's folder: another for cases of another data set, or damaged ones.
    """

    path: Path
    tested: str = "test"

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def named(cls, runs_dir: str | Path, name: str | None = None) -> "RunFolder":
        """A new run's folder, not made yet; named like the W&B run where one is set, else by time and a random part.

        Raises:
            UserError: If the name is no plain folder name.
        """
        name = name or os.environ.get("WANDB_RUN_ID") or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        if Path(name).name != name or name in {".", ".."}:
            raise UserError(f"--run_name {name!r} is no folder name: leave out '/', use --runs_dir for the place")
        return cls(Path(runs_dir) / name)

    def make(self) -> IO[str]:
        """Make the folder and claim it; one whose training ended before its first checkpoint is begun anew.

        Returns:
            The claim, until it is closed.

        Raises:
            UserError: If the folder holds a run, or something else.
        """
        self._check_begun()
        self.path.mkdir(parents=True, exist_ok=True)
        taken = claim(self.path, "a training runs")
        for name in self._check_begun() - {CLAIM}:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return taken

    def _check_begun(self) -> set[str]:
        """What lies in the folder, which is nothing or what a training leaves that ended before its first checkpoint.

        Raises:
            UserError: If it is more.
        """
        inside = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        known = {name for name in inside if name in BEFORE_A_CHECKPOINT or name.startswith(PART)}
        ours = not inside - {CLAIM} or bool(inside & {"command.txt", "state.json"})
        if inside - known or not ours or any(self.checkpoints.glob("[!.]*.ckpt")):
            raise UserError(
                f"run folder {self} exists: choose another --run_name, or go on with it by fit --resume {self}"
            )
        return inside

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> "RunFolder | None":
        """The run folder that a checkpoint lies in, or None for a checkpoint from elsewhere."""
        folder = cls(Path(checkpoint).absolute().parent.parent)
        inside = Path(checkpoint).absolute().parent.name == "checkpoints" and folder.config.is_file()
        return folder if inside else None

    @classmethod
    def latest(cls, runs_dir: str | Path, checkpoint: str) -> "RunFolder":
        """The newest run folder that holds `checkpoints/<checkpoint>.ckpt`.

        Raises:
            FileNotFoundError: If there is none.
        """
        found = sorted(Path(runs_dir).glob(f"*/checkpoints/{checkpoint}.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise FileNotFoundError(
                f"--ckpt_path {checkpoint}: no {checkpoint}.ckpt in any run folder of {runs_dir}/; "
                f"name a checkpoint file or a run folder"
            )
        return cls(found[-1].parent.parent)

    @classmethod
    def newest(cls, runs_dir: str | Path) -> "RunFolder | None":
        """The run folder with the newest checkpoint, or None."""
        found = max(
            Path(runs_dir).glob("*/checkpoints/[!.]*.ckpt"), key=lambda path: path.stat().st_mtime, default=None
        )
        return cls(found.parent.parent) if found else None

    def is_empty(self) -> bool:
        """Whether nothing was written into the folder but which program began."""
        return {path.name for path in self.path.iterdir()} <= {CLAIM, "state.json"}

    def remove_leftovers(self) -> None:
        """Remove what killed programs staged and never finished."""
        stages = [self.stage(stage) for stage in STAGES]
        places = [self.path, self.checkpoints, *stages, *(folder / "figures" for folder in (self.path, *stages))]
        remove_leftovers(*places)

    @property
    def name(self) -> str:
        """The folder's own name, which is the run's name."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def curves(self) -> Path:
        """The curves, a row a logged step."""
        return self.path / "metrics.csv"

    @property
    def epochs(self) -> Path:
        """Learning rate and seconds, a row an epoch."""
        return self.path / "epochs.csv"

    @property
    def split(self) -> Path:
        """Which case is in which part of the split."""
        return self.path / "split.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """Folder of what `predict` writes."""
        return self.path / "predictions"

    def checkpoint(self, name: str) -> Path:
        """Path of the checkpoint `best` or `last`."""
        return self.checkpoints / f"{name}.ckpt"

    @property
    def scored(self) -> Path:
        """The checkpoint that the run is scored by: the best, or the last of a training that never validated."""
        best = self.checkpoint("best")
        return best if best.is_file() else self.checkpoint("last")

    def stage(self, stage: str) -> Path:
        """Folder of what one evaluation wrote; `stage` is `val` or `test`."""
        return self.path / (self.tested if stage == "test" else stage)

    def note_post_hoc(self, stage: str, done: dict[str, Any]) -> None:
        """Keep with the state what was done after training to what a stage scored: `calibrator`, `cuts`; or nothing."""
        known = self.read_state().get("post_hoc", {})
        self.write_state(post_hoc={**known, self.stage(stage).name: done})

    def post_hoc(self, stage: str) -> dict[str, Any]:
        """What `note_post_hoc` kept."""
        return dict(self.read_state().get("post_hoc", {}).get(self.stage(stage).name) or {})

    def refuse_old_names(self, stage: str, names: Iterable[str]) -> None:
        """Refuse results of before the catalogue: some of their names stand for other numbers now.

        Args:
            stage: `val` or `test`.
            names: Columns of `per_case.csv`, classes of `summary.csv` or arrays of `bins.npz`.

        Raises:
            ValueError: If one of the names is of old.
        """
        if OLD_NAMES & set(names):
            verb = {"val": "validate", "test": "test"}[stage]
            raise ValueError(
                f"{self.stage(stage)} was scored by an older version, whose ece_boundary and ece_foreground are other "
                f"numbers (docs/metrics.md): score it again by python -m lightning_app {verb} --ckpt_path {self}"
            )

    def read_state(self) -> dict[str, Any]:
        """What `write_state` kept; empty where nothing was, or where a power cut left no whole file."""
        path = self.path / "state.json"
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            log.warning("%s: not readable (a kill, a full disk?): taken as empty", path)
            return {}

    def write_state(self, **changes: Any) -> None:
        """Merge `changes` into `state.json`: atomically, or in place where the disk has no room for a second file."""
        path = self.path / "state.json"
        text = json.dumps({**self.read_state(), **changes}, indent=1) + "\n"
        try:
            write_text(path, text)
        except DiskFull:
            if not path.is_file():
                raise
            with path.open("r+", encoding="utf-8") as file:
                file.write(text)
                file.truncate()
