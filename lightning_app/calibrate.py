"""The verb `calibrate`: fit a post-hoc calibrator on the validation cases and keep it in the checkpoint."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor

from datamodules import SegmentationData
from lightning_app.calibration import cases as case_promises
from lightning_app.calibration.cases import KEY as CASES
from lightning_app.calibration.cases import CaseCollector
from lightning_app.calibration.cuts import best_thresholds
from lightning_app.calibration.methods import Method
from lightning_app.calibration.registry import KEY, build_for, restore
from lightning_app.calibration.risk import KEY as RISK
from lightning_app.calibration.risk import OddsCollector, Wish, make_promises, to_record
from lightning_app.calibration.risk import describe as describe_promises
from lightning_app.errors import UserError
from lightning_app.files import part_name, read_csv
from lightning_app.training import drift
from lightning_app.training.checkpoint_files import read_checkpoint, save_checkpoint
from lightning_app.training.head import head_of
from lightning_app.training.run_folder import RunFolder
from metrics.risk import Risk, Unit
from models import Calibrator, Case, FitReport, LocalTemperatureScaling, MultiLabelCalibrator
from models.network import center_crop


class CalibratingTrainer(Trainer):
    """Lightning's Trainer with the verb `calibrate`."""

    callbacks: list[Callback]
    fast_dev_run: bool | int

    def calibrate(
        self,
        model: LightningModule,
        datamodule: SegmentationData,
        ckpt_path: str | None = None,
        method: Method = "temperature",
        options: dict[str, Any] | None = None,
        risk: Risk = "fnr",
        level: float = 0.1,
        confidence: float | None = None,
        by: Unit = "case",
        of_class: list[str] | None = None,
        dice: float = 0.8,
    ) -> FitReport | None:
        """Fit a post-hoc calibrator on the validation cases and keep it in the checkpoint for `test` and `predict`.

        With the method `risk`, find cuts that keep a risk below a level, of the probabilities as they are predicted,
        for `predict --threshold risk`. With the method `cases`, find intervals of the volume, and the expected Dice
        below which a case is to be looked at, for the `cases.csv` of `predict`. A calibrator in the checkpoint stays;
        fitting another drops both.

        Args:
            model: The training module.
            datamodule: The data, whose split must be that of the training.
            ckpt_path: The checkpoint that is calibrated.
            method: The kind of calibrator.
            options: Further arguments of the calibrator's class in `models`, such as epochs or num_bins.
            risk: What `risk` keeps low: fnr (share of true voxels missed), fdr (share of claimed voxels that are
                false) or precision (the same, an empty mask of a class that is there counts as 1).
            level: The largest risk; for `cases` the share of intervals that miss, and of bad cases that pass.
            confidence: Probability that the risk is kept; without one it is kept in expectation (`cases`: 0.9).
            by: Mean over cases, or all voxels together.
            of_class: Classes that `risk` promises something of, all if left out.
            dice: Dice below which a case is bad, for `cases`.

        Returns:
            Voxels seen and used, and the negative log-likelihood before and after; None for
            `risk` and `cases`.

        Raises:
            ValueError: If no checkpoint is given, several processes run, or a validation case is a test case or a
                training case, of this split or of that of the training.
        """
        if not ckpt_path:
            raise ValueError(
                "calibrate needs --ckpt_path: a checkpoint, a run folder, or best or last of the newest run"
            )
        if self.world_size > 1:
            raise ValueError(f"calibrate runs in one process, not {self.world_size}: give --trainer.devices 1")
        checkpoint = read_checkpoint(Path(ckpt_path))
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"], strict=False)
        setattr(model, KEY, None)  # the network's own probabilities are what is fitted
        datamodule.prepare_data()
        datamodule.setup("validate")
        allowed = validation_cases(datamodule, ckpt_path)
        if method == "risk":
            wish = Wish(risk, level, confidence, by, of_class)
            self._promise(checkpoint, Path(ckpt_path), OddsCollector(model, allowed), datamodule, wish)
            return None
        if method == "cases":
            asked = (dice, level, 0.9 if confidence is None else confidence)
            self._promise_cases(checkpoint, Path(ckpt_path), CaseCollector(model, allowed), datamodule, asked)
            return None
        return self._fit(checkpoint, Path(ckpt_path), model, datamodule, allowed, (method, options or {}))

    def _fit(
        self,
        checkpoint: dict[str, Any],
        path: Path,
        model: LightningModule,
        datamodule: SegmentationData,
        allowed: frozenset[str],
        wanted: tuple[Method, dict[str, Any]],
    ) -> FitReport:
        """Fit the calibrator of a method with its options, and keep it."""
        method, options = wanted
        arguments = calibrator_arguments(method, options, model, datamodule)
        regions = head_of(model).regions
        calibrator = build_for(method, arguments, regions)
        images = any(isinstance(part, LocalTemperatureScaling) for part in calibrator.modules())
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=part_name()) as folder:
            collector = Collector(model, Path(folder), allowed, images)
            self._collect(collector, datamodule)
            report = calibrator.fit(collector)
            if calibrator.runaway:
                raise UserError(f"--method {method}: {calibrator.runaway}; nothing was kept")
            thresholds = best_thresholds(collector.restored(calibrator))
        checkpoint[KEY] = {
            "method": method,
            "arguments": arguments,
            "regions": regions,
            "state": calibrator.state_dict(),
            "cases": sorted(collector.names),
            "report": report._asdict(),
            "thresholds": thresholds,
        }
        for promised in (RISK, CASES):  # of other probabilities
            checkpoint.pop(promised, None)
        save_checkpoint(checkpoint, path)
        sys.stdout.write(describe(method, calibrator, report, thresholds, collector, str(path)))
        return report

    def _collect(self, collector: LightningModule, datamodule: SegmentationData) -> None:
        """Show a collector the validation cases."""
        # the run's callbacks would take these for predictions of `predict`, and write files
        self.callbacks = [callback for callback in self.callbacks if isinstance(callback, ProgressBar)]
        self.predict(collector, dataloaders=datamodule.val_dataloader(), return_predictions=False)

    def _promise(
        self, checkpoint: dict[str, Any], path: Path, collector: OddsCollector, data: SegmentationData, wish: Wish
    ) -> None:
        """Find cuts that keep a risk and keep them in the checkpoint."""
        seen = "the calibrator was fitted on these cases too: exact only where it keeps the order of p"
        self._collect_calibrated(checkpoint, collector, data, seen)
        _tell_of_raters(data)
        promises = make_promises(collector.odds, head_of(collector.module).names, wish)
        checkpoint[RISK] = {"promises": to_record(promises), **_made_from(collector)}
        save_checkpoint(checkpoint, path)
        sys.stdout.write(describe_promises(promises, str(path), "predict --threshold risk applies it, test checks it"))

    def _promise_cases(
        self,
        checkpoint: dict[str, Any],
        path: Path,
        collector: CaseCollector,
        data: SegmentationData,
        asked: tuple[float, float, float],
    ) -> None:
        """Find what can be said of each case and keep it in the checkpoint."""
        seen = "the calibrator was fitted on these cases too: what it promises of others is a little too good"
        self._collect_calibrated(checkpoint, collector, data, seen)
        _tell_of_raters(data)
        promises = case_promises.promise_cases(collector.rows, head_of(collector.module).names, *asked)
        checkpoint[CASES] = {"promises": case_promises.to_record(promises), **_made_from(collector)}
        save_checkpoint(checkpoint, path)
        sys.stdout.write(
            case_promises.describe(promises, str(path), "predict writes it into cases.csv, test checks it")
        )

    def _collect_calibrated(
        self, checkpoint: dict[str, Any], collector: Any, data: SegmentationData, warning: str
    ) -> None:
        """Show a collector the validation cases through the checkpoint's calibrator, if it has one."""
        found = restore(checkpoint)
        if found is not None:
            setattr(collector.module, KEY, found[0])
            sys.stdout.write(f"WARNING   {warning}\n")
        self._collect(collector, data)


def _tell_of_raters(data: SegmentationData) -> None:
    """Say what is taken for true where raters differ."""
    several = max((len(case.raters) for case in (data.subsets or {}).get("val", [])), default=0)
    if several:
        sys.stdout.write(
            f"raters    {several}: what is promised is of what most of them say; test holds it to the same\n"
        )


def _made_from(collector: OddsCollector | CaseCollector) -> dict[str, Any]:
    """What a checkpoint keeps of the cases of a promise."""
    return {"cases": sorted(collector.names), drift.KEY: drift.to_record(drift.columns(collector.traits))}


class Collector(LightningModule):
    """Predicts the validation cases once, keeps them on disk, and gives them one at a time, as often as asked.

    Of several raters a case is given once for each, with what that one says: the mean negative log-likelihood is then
    that against their share, -sum_k q_k log p_k, where none ignores the voxel.

    Args:
        module: The training module, for its uncalibrated probabilities.
        folder: Where to keep the cases.
        allowed: Names of the cases that may be used.
        images: Keep the images too.
    """

    module: Any

    def __init__(self, module: LightningModule, folder: Path, allowed: frozenset[str], images: bool) -> None:
        super().__init__()
        self.module, self.folder, self.allowed, self.images = module, folder, allowed, images
        self.names: list[str] = []
        self.geometries: list[Any] = []
        self.raters = 1

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> int:
        """Keep the uncalibrated probabilities and the masks of one case; return its number.

        Raises:
            ValueError: If it is no validation case.
        """
        name = batch["case"][0]
        if name not in self.allowed:
            raise ValueError(f"case {name} is no validation case: a calibrator is fitted on validation cases only")
        probs = self.module.probabilities(batch["image"])
        size = probs.shape[2:]
        number, labels = len(self.names), head_of(self.module).scored(probs, center_crop(batch["mask"], size))[1]
        np.save(self.folder / f"{number}.probs.npy", probs.float().cpu().numpy())
        np.save(self.folder / f"{number}.mask.npy", labels.cpu().numpy())
        np.save(self.folder / f"{number}.original_mask.npy", batch["original_mask"].cpu().numpy())
        if "raters" in batch:
            maps = center_crop(batch["raters"], size)
            np.save(self.folder / f"{number}.raters.npy", maps.cpu().numpy())
            self.raters = maps.shape[1]
        if self.images:
            np.save(self.folder / f"{number}.image.npy", center_crop(batch["image"], size).float().cpu().numpy())
        self.names.append(name)
        self.geometries.append(batch["geometry"][0])
        return number

    def __iter__(self) -> Iterator[Case]:
        """The cases, one after the other, each with the labels of each of its raters."""
        for number in range(len(self.names)):
            case = Case(self._load(number, "probs"), self._load(number, "mask"), self._image(number))
            if self.raters == 1:
                yield case
            else:
                yield from (case._replace(target=labels) for labels in self._load(number, "raters").unbind(1))

    def restored(self, calibrator: Calibrator | MultiLabelCalibrator) -> Iterator[tuple[Tensor, Tensor]]:
        """What `predict` would write of each case, and its labels, of several raters what most of them say.

        Args:
            calibrator: Fitted.

        Yields:
            Probabilities (N, K, *S) and labels (N, *S) on the case's original grid, as `Head.items` gives them.
        """
        head = head_of(self.module)
        for number, geometry in enumerate(self.geometries):
            probs = calibrator(self._load(number, "probs"), self._image(number))[0]
            yield head.items(head.restore(probs, geometry)[None], self._load(number, "original_mask"))

    def _image(self, number: int) -> Tensor | None:
        return self._load(number, "image") if self.images else None

    def _load(self, number: int, part: str) -> Tensor:
        return torch.from_numpy(np.load(self.folder / f"{number}.{part}.npy"))


def calibrator_arguments(
    method: str, options: dict[str, Any], model: LightningModule, datamodule: SegmentationData
) -> dict[str, Any]:
    """What the calibrator is built with: sized by the data, the exponent from the loss, options on top.

    Raises:
        ValueError: If the inverse of DSC++ is asked for a network that was trained with another loss.
    """
    arguments: dict[str, Any] = {"num_classes": head_of(model).num_classes}
    if method in ("image_temperature", "local_temperature"):
        arguments |= {"in_channels": datamodule.in_channels, "spatial_dims": datamodule.spatial_dims}
    if method == "dicepp_inverse" and "gamma" not in options:
        gamma = getattr(model.loss, "inverse_gamma", None)
        if gamma is None:
            raise ValueError(
                f"dicepp_inverse undoes DSC++ with gamma above 1, this network was trained with "
                f"{type(model.loss).__name__}; give --options.gamma"
            )
        arguments["gamma"] = gamma
    return arguments | options


def validation_cases(datamodule: SegmentationData, ckpt_path: str) -> frozenset[str]:
    """Names of the validation cases, after a look that none of them was trained on or is to be tested on.

    Raises:
        ValueError: If a case is in another part too, of this split or of the run's `split.csv`.
    """
    table = datamodule.split_table()
    parts: dict[str, set[str]] = {}
    for row in table:
        parts.setdefault(row["subset"], set()).add(row["case"])
    names = parts.pop("val", set())
    run = RunFolder.of_checkpoint(ckpt_path)
    if run is not None and run.split.is_file():
        for row in read_csv(run.split):
            if row["subset"] != "val":
                parts.setdefault(row["subset"], set()).add(row["case"])
    for subset, others in parts.items():
        if both := sorted(names & others):
            raise ValueError(
                f"{len(both)} validation cases are {subset} cases too, first {both[0]}: "
                "a calibrator is fitted on validation cases only; calibrate with the split of the training"
            )
    return frozenset(names)


def describe(
    method: str,
    calibrator: Calibrator | MultiLabelCalibrator,
    report: FitReport,
    thresholds: list[float],
    cases: Collector,
    path: str,
) -> str:
    """What the terminal shows after a fit."""
    parts = calibrator.parts if isinstance(calibrator, MultiLabelCalibrator) else [calibrator]
    lines = ["", f"calibrator                {method}, fitted on {len(cases.names)} validation cases"]
    for name, attribute in (("temperature", "temperature"), ("soft coefficient D", "soft_dice")):
        values = [getattr(part, attribute) for part in parts if hasattr(part, attribute)]
        shown = [n for value in values for n in (value[1:].tolist() if isinstance(value, Tensor) else [value])]
        if shown:
            lines.append(f"{name:<26}{', '.join(f'{number:.4f}' for number in shown)}")
    if cases.raters > 1:
        lines.append(f"{'raters':<26}{cases.raters}: fitted to their share, each counting alike; cuts by what most say")
    error = f" (sampling error {report.sampling_error:.1e})" if report.sampling_error else ""
    lines.append(f"voxels used               {report.voxels_used} of {report.voxels}")
    lines.append(f"validation NLL            {report.nll_before:.4f} before, {report.nll_after:.4f} after{error}")
    lines.append(f"best cuts for Dice        {', '.join(f'{cut:.3f}' for cut in thresholds[1:])}")
    lines.append(f"kept in                   {path}; test and predict apply it")
    return "\n".join(lines) + "\n"
