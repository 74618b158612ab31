"""`apply`: calibrated maps in the layout, the types and under the names that the maps came in."""

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from datamodules import DataError
from lightning_app.calibration.risk import UNDER_SHIFT, Claims, cuts_of, promised_labels, promised_sets
from lightning_app.errors import UserError
from lightning_app.files import write_text
from lightning_app.maps.beside import values_beside
from lightning_app.maps.cases import Sheet
from lightning_app.maps.fitted import FittedCalibrator, digest, stamp, was_seen
from lightning_app.maps.folder import findings
from lightning_app.maps.grid import check_mask, hard_labels
from lightning_app.maps.labels import outside_view
from lightning_app.maps.pairing import Files, find, group_as_fitted, root_of
from lightning_app.maps.problems import above_zero, join, names_of, split
from lightning_app.maps.reading import Form, Map, files_of, read_map, write_map
from lightning_app.maps.scale import check_scale
from lightning_app.maps.space import check_place
from lightning_app.maps.storage import Stored, check_writable, levels_of, read_array, write_labels
from lightning_app.training.case_sheet import unit_of
from lightning_app.training.processes import tell

RECORD = "calibration.json"
COMPANIONS = ("dataset.json", "plans.json", "predict_from_raw_data_args.json")


def apply_calibrator(options: argparse.Namespace) -> None:
    """Run the command.

    Args:
        options: What was asked for.

    Raises:
        UserError: If a case was in the fit, or the output folder holds something else.
        DataError: If a file is no map of these classes.
    """
    fitted = FittedCalibrator.load(Path(options.calibrator))
    form = _form(fitted.form, options)
    cases = group_as_fitted(find(options.probs, "--probs"), form.classes, fitted.apart, options.probs)
    root, out = root_of(options.probs), Path(options.out)
    _check_formats(cases, form)
    check_unseen(cases, fitted)
    fitted.check_view(options.valid is not None, f"--probs {options.probs}")
    scale = check_scale(cases.values(), form)
    views = _views(options.valid, cases)
    stamps = {name: _stamp(files, form, views.get(name)) for name, files in cases.items()}
    record = Record(out, _made_by(fitted, form, options), stamps)
    kept = record.check(root)
    sys.stdout.write("".join(f"{line}\n" for line in scale))
    sys.stdout.write(f"{fitted.method}, fitted on {len(fitted.names)} cases; {len(cases)} cases of {options.probs}\n")
    done = 0
    fitted = _threshold(fitted, options)
    sheet = Sheet(out, fitted, not fitted.promises)
    record.write(kept)  # a kill leaves no stamp of files that are not there
    stored = values_beside(_masks(cases, form), form)
    noted, work = sheet.tidy(kept), Work(form, sheet, root, views, stored)
    record.write(record.stamps)
    for files in cases.values():
        if files.name in noted and is_done(files, form, out, root):
            done += 1
        else:
            work.apply(files)
    sheet.finish(cases)
    work.tell(len(cases) - done)
    for name in COMPANIONS:
        if (root / name).is_file():
            shutil.copyfile(root / name, out / name)
    sys.stdout.write(f"written   {out}{f' ({done} cases were there)' if done else ''}\n")


def _form(form: Form, options: argparse.Namespace) -> Form:
    logits = form.logits if options.logits is None else options.logits
    return replace(form, kind=options.format or form.kind, logits=logits)


def _threshold(fitted: FittedCalibrator, options: argparse.Namespace) -> FittedCalibrator:
    """The calibrator, without its promises where masks are to be made by argmax."""
    if options.threshold == "risk" and not fitted.promises:
        raise UserError(f"--threshold risk: {options.calibrator} holds no promise; calibrate --method risk makes one")
    if options.threshold == "argmax":
        return replace(fitted, promises=[])
    if fitted.promises:
        tell(UNDER_SHIFT)
    return fitted


def check_unseen(cases: dict[str, Files], fitted: FittedCalibrator) -> None:
    """Refuse maps that the calibrator was fitted on, whatever they are called now."""
    seen = [name for name, files in cases.items() if was_seen(files, fitted.digests)]
    if seen:
        raise UserError(
            f"{len(seen)} of {len(cases)} cases were in the fit, first {seen[0]}: what they show after is no "
            "test; give maps of other cases"
        )
    if same := [name for name in cases if name in fitted.names]:
        sys.stdout.write(f"WARNING   {len(same)} cases are called as cases of the fit, first {same[0]}\n")


def _masks(cases: dict[str, Files], form: Form) -> Iterator[Path]:
    """The hard masks beside the maps."""
    return (beside for files in cases.values() if (beside := files_of(files, form.kind)[1]) is not None)


def _check_formats(cases: dict[str, Files], form: Form) -> None:
    """Refuse formats that nothing can be written in, before anything is."""
    for files in cases.values():
        chosen, beside = files_of(files, form.kind)
        for path in (*chosen.values(), *([beside] if beside else [])):
            check_writable(path)


def _views(valid: str | None, cases: Collection[str]) -> dict[str, Path]:
    """The mask of each case that says what counts.

    Raises:
        UserError: If a case has none.
    """
    found = {name: files.all[0] for name, files in find(valid, "--valid").items()} if valid else {}
    if valid and (without := [name for name in cases if name not in found]):
        raise UserError(f"--valid: no file for {len(without)} of {len(cases)} cases, first {without[0]}")
    return found


def _made_by(fitted: FittedCalibrator, form: Form, options: argparse.Namespace) -> dict[str, Any]:
    """What the output depends on, beside the maps."""
    return {
        "calibrator": digest([Path(options.calibrator)]),
        "method": fitted.method,
        "probs": options.probs,
        "valid": options.valid,
        "threshold": options.threshold or ("risk" if fitted.promises else "argmax"),
        "logits": form.logits,
        "format": form.kind,
    }


def _stamp(files: Files, form: Form, valid: Path | None) -> str:
    """Digest of name, size and time of the files of a case, and of what lies beside them."""
    chosen, beside = files_of(files, form.kind)
    properties = next(iter(chosen.values())).with_suffix(".pkl")
    others = [path for path in (beside, valid, properties if properties.is_file() else None) if path is not None]
    return stamp([*files.all, *others])


@dataclass(frozen=True)
class Record:
    """What an output folder holds: how it was made, and of which files each case.

    Args:
        out: The folder.
        made_by: What all cases were made with.
        stamps: Of the files of each case.
    """

    out: Path
    made_by: dict[str, Any]
    stamps: dict[str, str]

    def check(self, root: Path) -> set[str]:
        """The cases that an earlier command wrote of files that are as they were.

        Raises:
            UserError: If the folder holds what this command would not write.
        """
        out, place = self.out, self.out / RECORD
        if out.resolve() == root.resolve():
            raise UserError(f"--out {out}: is the folder of the maps themselves; give another")
        if not place.is_file():
            if out.exists() and any(out.iterdir()):
                raise UserError(f"--out {out}: holds something else; give a new folder")
            return set()
        held = json.loads(place.read_text(encoding="utf-8"))
        if other := [key for key, value in self.made_by.items() if held.get(key) != value]:
            raise UserError(f"--out {out}: was made with another {', '.join(other)}; give a new folder")
        if gone := [name for name in held["cases"] if name not in self.stamps]:
            raise UserError(
                f"--out {out}: holds {len(gone)} cases that --probs has no longer, first {gone[0]}; give a new folder"
            )
        return {name for name, value in self.stamps.items() if held["cases"].get(name) == value}

    def write(self, names: Iterable[str]) -> None:
        """Note the cases of these names."""
        content = {**self.made_by, "cases": {name: self.stamps[name] for name in sorted(names)}}
        write_text(self.out / RECORD, json.dumps(content, indent=1) + "\n")


def is_done(files: Files, form: Form, out: Path, root: Path) -> bool:
    """Whether the files of a case are there."""
    chosen, beside = files_of(files, form.kind)
    written = [*chosen.values(), *([beside] if beside is not None and beside.is_relative_to(root) else [])]
    return all((out / path.relative_to(root)).is_file() for path in written)


@dataclass
class Work:
    """What is done to each case, and what is to be said of all.

    Args:
        form: Of the maps.
        sheet: The calibrator, the output folder and its table of the cases.
        root: The folder of the maps.
        views: The mask of each case that says what counts, where there are.
        stored: The value of each label in the masks beside the maps.
    """

    form: Form
    sheet: Sheet
    root: Path
    views: dict[str, Path]
    stored: np.ndarray
    claims: Claims = field(default_factory=Claims)
    found: Counter[str] = field(default_factory=Counter)

    def apply(self, files: Files) -> None:
        """Calibrate one case and write it, its row last."""
        form, fitted, out, root = self.form, self.sheet.fitted, self.sheet.folder, self.root
        chosen, beside = files_of(files, form.kind)
        path = next(iter(chosen.values()))
        map_ = read_map(files, form)
        if beside is not None:
            check_mask(map_, form, path, beside, self.stored.tolist())
        self.found.update(map_.found)
        mask = None if beside is None or not beside.is_relative_to(root) else read_array(beside)
        spacing, valid = _spacing(map_, mask, form), self.views.get(files.name)
        fitted.check_unit(unit_of(spacing, form.dims), str(path))
        probs = calibrated(map_, form, fitted)
        properties = path.with_suffix(".pkl")
        if map_.properties is not None:
            (out / properties.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(properties, out / properties.relative_to(root))
        write_map(map_, _as_logits(probs, map_, form) if form.logits else probs, form, out, root)
        labels = self._promised(map_) if fitted.promises else hard_labels(probs, form)
        if beside is not None and mask is not None:
            if labels.shape != mask.array.shape:
                raise DataError(f"{beside}: shape {mask.array.shape}, but its map's is {labels.shape}.")
            write_labels(out / beside.relative_to(root), labels, mask, self.stored)
        self.sheet.add(files.name, probs, labels, spacing, form, _outside_of(valid, labels, path, map_.affine))
        levels = levels_of(map_.stored[0][1].array.dtype)
        foreground = probs if form.regions else probs[1:]
        if levels:
            stored = np.rint(foreground * levels)
            self.found["lost_zeros"] += int(((foreground > 0) & (stored == 0)).sum())
            self.found["lost_ones"] += int(((foreground < 1) & (stored == levels)).sum())

    def _promised(self, map_: Map) -> np.ndarray:
        """Write the sets that a promise claims, count what several claim, and give the labels that they make."""
        form, fitted = self.form, self.sheet.fitted
        sets = claimed(map_, form, fitted)
        write_map(map_, sets, form, self.sheet.folder / "sets", self.root)
        if not form.regions and len(sets) > 2:
            self.claims.add(torch.from_numpy(sets[1:] > 0))
        return risk_labels(map_, form, fitted)

    def tell(self, cases: int) -> None:
        """Say what was doubtful in this many cases."""
        if told := self.claims.told():
            tell(told)
        lines = findings(self.found, cases)
        zeros, ones = self.found["lost_zeros"], self.found["lost_ones"]
        if zeros or ones:
            told = f"{zeros:,} foreground probabilities above 0 were rounded to 0 and {ones:,} below 1 to 1"
            lines.append(f"WARNING   {told} by the type of the files")
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _spacing(map_: Map, mask: Stored | None, form: Form) -> tuple[float, ...] | None:
    """Size of a voxel in mm, where the map or the mask beside it knows it."""
    affine = mask.affine if map_.affine is None and mask is not None else map_.affine
    return None if affine is None else tuple(nibabel.affines.voxel_sizes(affine)[: form.dims].tolist())


def _outside_of(valid: Path | None, labels: np.ndarray, path: Path, affine: np.ndarray | None) -> np.ndarray | None:
    """Where a mask says that nothing counts.

    Raises:
        DataError: If it is of another shape than the map, or lies elsewhere.
    """
    if valid is None:
        return None
    outside, place = outside_view(valid)
    if outside.shape != labels.shape:
        raise DataError(f"{valid}: shape {outside.shape}, but the map's is {labels.shape}.")
    check_place(valid, place, path, affine, labels.shape)
    return outside


def calibrated(map_: Map, form: Form, fitted: FittedCalibrator) -> np.ndarray:
    """The calibrated probabilities of a case."""
    if not fitted.calibrators:
        return map_.probs
    dtype = map_.stored[0][1].array.dtype
    parts = []
    for probs, calibrator in zip(split(map_.probs, form), fitted.calibrators, strict=True):
        given = above_zero(torch.from_numpy(probs), dtype)
        parts.append(calibrator(given[None])[0].numpy())
    return join(parts, form)


def _problems(map_: Map, form: Form, fitted: FittedCalibrator) -> list[tuple[torch.Tensor, list[int | None]]]:
    """Probabilities of each problem and the cuts that were promised of it."""
    names = [names for _, names in names_of(form)]
    parts = zip(split(map_.probs, form), fitted.promises, names, strict=True)
    return [(torch.from_numpy(probs), cuts_of(promises, n)) for probs, promises, n in parts]


def claimed(map_: Map, form: Form, fitted: FittedCalibrator) -> np.ndarray:
    """What is claimed for each class, 0 or 1 in the map's own channels, (K, *S); the background is what is left."""
    parts = []
    for probs, cuts in _problems(map_, form, fitted):
        sets = promised_sets(probs, cuts)
        parts.append(torch.cat([~sets.any(0, keepdim=True), sets]).float().numpy())
    return join(parts, form)


def risk_labels(map_: Map, form: Form, fitted: FittedCalibrator) -> np.ndarray:
    """Labels of what is claimed: of regions one over the other, of classes the one furthest above its cut."""
    if form.regions:
        return hard_labels(claimed(map_, form, fitted), form)
    ((probs, cuts),) = _problems(map_, form, fitted)
    return promised_labels(probs, cuts).numpy().astype(np.uint8)


def _as_logits(probs: np.ndarray, map_: Map, form: Form) -> np.ndarray:
    """Numbers whose softmax (or sigmoid, for channels of their own) is `probs`."""
    tiny = np.finfo(np.float32).tiny
    logs = np.log(np.maximum(probs, tiny))
    if form.regions or len(map_.place) == 1:
        return logs - np.log(np.maximum(1 - probs, np.finfo(np.float32).eps / 2))
    return logs
