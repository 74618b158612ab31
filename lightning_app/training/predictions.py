"""Writes masks, probabilities and maps of uncertainty of `predict` on the original grid, one case at a time."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from datamodules import (
    DataError,
    Geometry,
    SegmentationData,
    is_series,
    is_written,
    write_map,
    write_mask,
    write_probabilities,
    write_segmentation,
)
from datamodules.case import Case
from lightning_app.calibration.cuts import asked_cuts
from lightning_app.calibration.risk import UNDER_SHIFT, Claims, cuts_of
from lightning_app.errors import UserError
from lightning_app.files import PART, append_csv, read_csv, write_csv, write_text
from lightning_app.system.lock import claim
from lightning_app.training import drift
from lightning_app.training.case_sheet import case_numbers, columns
from lightning_app.training.drift import TraitTable
from lightning_app.training.evaluation import gather
from lightning_app.training.processes import tell
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.split import digests
from lightning_app.training.stage import Stage, StageCallback

MAPS = ("entropy", "mutual_information")  # of inferences that average members
ENTRIES = "cases.csv"
SOURCE = "input.txt"


class PredictionWriter(StageCallback):
    """Writes `<case>` masks to `masks/` and probabilities to `probabilities/`; goes on after a kill.

    Where the inference averages members (test-time augmentation, ensembles, dropout), it also writes the predictive
    entropy to `entropy/` and the mutual information to `mutual_information/`: in nats for volumes, and as shares of
    log K, the largest there can be, for images.

    Each input has a folder of its own, `predictions/test` or `predictions/<folder of images>`. Files appear whole or
    not at all, the mask last; then the case is entered in `cases.csv` with a fingerprint of what made it: its files,
    checkpoint, calibrator, cuts and settings. A case whose entry says the same is not computed again, one that
    something else made is. The entry holds what the probabilities expect of each class too: the mask's Dice, the
    volume (`metrics.expectations`). Where a promise is used, `traits.csv` holds what tells these cases from those that
    it was made from, and `drift.json` whether they look unlike.

    Args:
        run: The run's folder.
        output: Where to write instead of the run's folder.
        threshold: `argmax`, `calibrated` for the cuts that `calibrate` kept with the checkpoint, `risk` for those of
            its method `risk`, or a cut for each foreground class. With `risk` and several classes, what is claimed for
            each goes to `sets/<class>` too: the promise is of these, which may overlap.
        probabilities: Write probability maps too.
        settings: Further plain data that the predictions depend on, such as the configuration of model and data.

    Raises:
        UserError: If `calibrated` cuts are asked of a checkpoint without, or their number is not that of the classes.
    """

    def __init__(
        self,
        run: RunFolder,
        output: str | None = None,
        threshold: str | list[float] = "argmax",
        probabilities: bool = True,
        settings: Any = None,
    ) -> None:
        self.run = run
        self.output = output
        self.folder = Path()
        self.columns: list[str] = []  # of `cases.csv`
        self.cases = 0  # of this input, after the last of them
        self.claim: IO[str] | None = None
        self.threshold = threshold
        self.probabilities = probabilities
        self.settings = settings
        self.cuts: list[float] | None = None
        self.promised: list[int | None] | None = None  # first bins of the fine axis
        self.claims = Claims()  # of several classes in the cases that this process writes
        self.fingerprint = ""
        self.contents: dict[str, str] = {}
        self.traits: TraitTable | None = None  # where a promise is used

    def on_begin(self, stage: Stage) -> None:
        """Settle folder and cuts and tell the module which cases are done."""
        if stage.name != "predict":
            return
        self.cuts = asked_cuts(self.threshold, stage.module.thresholds, stage.class_names)
        self.promised = self._find_promised(stage)
        self.fingerprint = self._fingerprint(stage.trainer.ckpt_path)
        root = getattr(stage.datamodule, "predict_root", None)
        self.folder = Path(self.output) if self.output else self._own_folder(root)
        self.contents = digests(_cases(stage.datamodule, root))
        uses_promise = self.promised or stage.module.case_promises
        self.traits = TraitTable(self.folder, stage.head.names) if uses_promise else None
        self.claims = Claims()
        self.cases, self.columns = 0, ["case", "made_by", *columns(stage.head.names)]
        if stage.trainer.is_global_zero:
            self._claim(root)
        stage.trainer.strategy.barrier("predictions")
        stage.module.leave_out(set(self._done()))

    def on_case(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        """Write one case."""
        if stage.name != "predict":
            return
        self.cases += 1
        if outputs:
            self._write(stage, outputs, batch)

    def _write(self, stage: Stage, outputs: dict[str, Any], batch: dict[str, Any]) -> None:
        case, geometry, head = batch["case"][0], batch["geometry"][0], stage.head
        probs = outputs["original"][0].float().cpu()
        if self.probabilities:
            maps = head.written(probs).numpy()
            write_probabilities(self.folder / "probabilities" / case, maps, geometry, bool(head.regions))
        for name in MAPS:
            if name in outputs:
                values = outputs[name][0].float().cpu().numpy()
                write_map(self.folder / name / case, values, geometry, head.largest_entropy)
        labels = head.label_map(probs, self.cuts, self.promised)
        mask, promises = labels.numpy().astype(np.uint8), stage.module.case_promises
        largest = self.threshold == "argmax"
        spacing = geometry.spacing if geometry.affine is not None else None
        numbers = case_numbers(head, probs, labels, spacing, promises, largest)
        if self.promised and len(stage.class_names) > 2:
            self._write_sets(head.sets(probs, self.promised), batch, stage)
        if self.traits is not None:
            self.traits.add(case, head.traits(probs), self._made_by(case))
        values = getattr(stage.datamodule, "label_values", None)
        if is_series(geometry):
            self._write_segmentation(case, mask, geometry, head.labels)
        write_mask(self.folder / "masks" / case, mask if values is None else np.array(values)[mask], geometry)
        append_csv(self.folder / ENTRIES, {"case": case, "made_by": self._made_by(case), **numbers}, self.columns)

    def _write_sets(self, sets: Tensor, batch: dict[str, Any], stage: Stage) -> None:
        """Write what is claimed for each class, (K - 1, *S) bool."""
        for name, claimed in zip(stage.class_names[1:], sets.numpy().astype(np.uint8), strict=True):
            write_mask(self.folder / "sets" / name / batch["case"][0], claimed, batch["geometry"][0])
        if not stage.head.regions:  # which may overlap by their nature
            self.claims.add(sets)

    def _write_segmentation(self, case: str, mask: np.ndarray, geometry: Geometry, classes: Sequence[str]) -> None:
        """Write a DICOM segmentation too, unless the headers of the series lack what it needs."""
        try:
            write_segmentation(self.folder / "dicom_seg" / case, mask, geometry, classes)
        except DataError as error:
            warnings.warn(f"case {case}: only NIfTI is written, no DICOM segmentation: {error}", stacklevel=2)

    def on_finish(self, stage: Stage) -> None:
        """Count the cases of all processes."""
        if stage.name != "predict":
            return
        self.cases = sum(gather([self.cases]))
        if told := sum(gather([self.claims]), Claims()).told():
            tell(told)
        if self.traits is not None and stage.trainer.is_global_zero:
            drift.check(self.folder, stage.module.promised_traits, self.traits.cases(self._made()))
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let another program write here."""
        self._release()

    def _own_folder(self, root: str | None) -> Path:
        """The run's folder of this input; of two inputs of one name the later has a number too."""
        if root is None:
            return self.run.predictions / "test"
        source = Path(root).expanduser().resolve()
        names = [source.name, *(f"{source.name}-{number}" for number in range(2, 1000))]
        folders = (self.run.predictions / name for name in names if name != "test")
        return next(folder for folder in folders if _source(folder) in ("", str(source)))

    def _claim(self, root: str | None) -> None:
        """Keep others out, note the input, and leave one entry a case in `cases.csv`: those that hold still."""
        source = str(Path(root).expanduser().resolve()) if root else "test cases"
        if _source(self.folder) not in ("", source):
            raise UserError(f"--output {self.folder} holds the predictions of {_source(self.folder)}: give another")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.claim = claim(self.folder, "predictions are written")
        for part in self.folder.rglob(f"{PART}*"):
            part.unlink()
        write_text(self.folder / SOURCE, f"{source}\n")
        write_csv(self.folder / ENTRIES, [row for _, row in sorted(self._done().items())], self.columns)
        (self.folder / drift.RESULT).unlink(missing_ok=True)  # it was of what was there before
        if self.traits is not None:
            self.traits.begin(self._made())

    def _release(self) -> None:
        if self.claim is not None:
            self.claim.close()
            self.claim = None

    def _find_promised(self, stage: Stage) -> list[int | None] | None:
        if self.threshold != "risk":
            return None
        if not stage.module.promises:
            raise UserError(
                "--threshold risk: the checkpoint holds no promise; run calibrate --method risk on it first"
            )
        tell(UNDER_SHIFT)
        return cuts_of(stage.module.promises, stage.module.class_names)

    def _fingerprint(self, checkpoint: Any) -> str:
        """Short digest of everything that the files depend on; calibrating rewrites the checkpoint and changes it."""
        stamp = Path(checkpoint).stat().st_mtime_ns if checkpoint else None
        made_by = json.dumps(
            [str(checkpoint), stamp, self.promised or self.cuts, self.settings], sort_keys=True, default=str
        )
        return hashlib.sha256(made_by.encode()).hexdigest()[:16]

    def _made_by(self, case: str) -> str:
        return f"{self.fingerprint}-{self.contents.get(case, '')}"

    def _made(self) -> dict[str, str]:
        """What made each case that is done."""
        return {case: row["made_by"] for case, row in self._done().items()}

    def _done(self) -> dict[str, dict[str, str]]:
        """The entries of the cases that have a mask, made last by what makes them now, with all their numbers."""
        rows = read_csv(self.folder / ENTRIES, appended=True)
        ours = {row["case"]: row for row in rows if row["made_by"] == self._made_by(row["case"])}
        whole = {case: row for case, row in ours.items() if set(self.columns) == set(row)}
        return {case: row for case, row in whole.items() if is_written(self.folder / "masks" / case)}


def _cases(datamodule: Any, root: str | None) -> list[Case]:
    """The cases that are predicted, of data of ours."""
    if not isinstance(datamodule, SegmentationData):
        return []
    return datamodule.new_cases if root else (datamodule.subsets or {}).get("test", [])


def _source(folder: Path) -> str:
    """The input that a folder of predictions was made from; empty where there is none."""
    path = folder / SOURCE
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
