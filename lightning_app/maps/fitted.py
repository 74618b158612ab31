"""The file between `calibrate --probs` and `apply`: calibrators, the form of the maps, what they were fitted on."""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_app.calibration import cases
from lightning_app.calibration.cases import CasePromises
from lightning_app.calibration.registry import build
from lightning_app.calibration.risk import from_record, to_record
from lightning_app.errors import UserError
from lightning_app.files import write_atomic
from lightning_app.maps.folder import Folder
from lightning_app.maps.pairing import Files
from lightning_app.maps.reading import Form, files_of
from lightning_app.maps.storage import read_array
from lightning_app.training import drift
from metrics.risk import Promise
from models import Calibrator

KEY = "calibrated_maps"


@dataclass(frozen=True)
class FittedCalibrator:
    """Calibrators of a folder's maps.

    Attributes:
        method: Name of the method.
        arguments: What each calibrator was built with.
        calibrators: One, or one a region.
        form: Form of the maps of the fit.
        digests: Digest of each map file of the fit to the case's name; in older files of all files of a case.
        promises: Of the method `risk`, which has no calibrators: what is promised, a mapping a problem.
        cases: Of the method `cases`, which has none either: what is promised of each case, by class or region.
        traits: Of either promise: what the maps of the fit say without a label, to tell whether others look like them.
        apart: Each class had a file of its own.
        unit: Of the volumes that are promised; "" in files that promise none, or do not know.
        valid: A mask said what counts.
        names: Of the cases of the fit.
    """

    method: str
    form: Form
    digests: dict[str, str]
    arguments: dict[str, Any] = field(default_factory=dict)
    calibrators: list[Calibrator] = field(default_factory=list)
    promises: list[dict[str, Promise]] = field(default_factory=list)
    cases: CasePromises = field(default_factory=dict)
    traits: drift.Traits = field(default_factory=dict)
    apart: bool = False
    unit: str = ""
    valid: bool = False
    names: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, method: str, folder: Folder, **found: Any) -> "FittedCalibrator":
        """What was found on a folder, with what is to be known of its maps."""
        apart = any(set(pair.maps.by_class) != {""} for pair in folder.pairs.pairs)
        names = [pair.name for pair in folder.pairs.pairs]
        valid = any(pair.valid is not None for pair in folder.pairs.pairs)
        return cls(method, form=folder.form, digests=digests_of(folder), apart=apart, valid=valid, names=names, **found)

    def check_unit(self, unit: str, where: str) -> None:
        """Refuse volumes of another unit than that which intervals were promised in.

        Raises:
            UserError: If it differs.
        """
        if self.cases and self.unit and unit != self.unit:
            cure = "give maps or masks" if unit in ("pixels", "voxels") else "calibrate on labels"
            raise UserError(
                f"{where}: volumes are in {unit}, but promised in {self.unit}; {cure} that know the size of a voxel"
            )

    def check_view(self, valid: bool, where: str) -> None:
        """Refuse volumes over another part of the images than that which intervals were promised of.

        Raises:
            UserError: If it differs.
        """
        if self.cases and valid and not self.valid:
            raise UserError(f"{where}: is under --valid, but the promise is of whole images; leave it out")
        if self.cases and self.valid and not valid:
            raise UserError(f"{where}: counts all voxels, but the promise those in a --valid mask; give one")

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        content = {
            KEY: {
                "method": self.method,
                "arguments": self.arguments,
                "states": [calibrator.state_dict() for calibrator in self.calibrators],
                "form": asdict(self.form),
                "digests": self.digests,
                "promises": [to_record(promises) for promises in self.promises],
                "cases": cases.to_record(self.cases),
                drift.KEY: drift.to_record(self.traits),
                "apart": self.apart,
                "unit": self.unit,
                "valid": self.valid,
                "names": self.names,
            }
        }
        write_atomic(path, lambda part: torch.save(content, part))

    @classmethod
    def load(cls, path: Path) -> "FittedCalibrator":
        """Read a file; nothing in it is run.

        Raises:
            UserError: If it is none that `calibrate --probs` wrote.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)[KEY]
            form = content["form"]
            form = Form(**{**form, "classes": tuple(form["classes"]), "order": tuple(form["order"])})
            calibrators = [build(content["method"], content["arguments"]) for _ in content["states"]]
            for calibrator, state in zip(calibrators, content["states"], strict=True):
                calibrator.load_state_dict(state)
            promises = [from_record(one) for one in content["promises"]]
            of_cases = cases.from_record(content["cases"])
            traits = drift.from_record(content.get(drift.KEY))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; calibrate --probs ... --out {path} makes it") from None
        except Exception as error:  # torch raises anything over a file that is no checkpoint
            reason = "a checkpoint of a training has its calibrator applied by predict" if path.is_file() else error
            raise UserError(f"{path}: no calibrator of calibrate --probs ({reason})") from error
        done = [calibrator.requires_grad_(False) for calibrator in calibrators]
        return cls(
            content["method"], form, content["digests"], content["arguments"], done, promises, of_cases, traits,
            content.get("apart", False), content.get("unit", ""), content.get("valid", False),
            content.get("names") or list(content["digests"].values()),
        )  # fmt: skip


def digests_of(folder: Folder) -> dict[str, str]:
    """Digest of each map file to the name of its case; masks beside maps are none."""
    kind = folder.form.kind
    return {digest([path]): pair.name for pair in folder.pairs.pairs for path in files_of(pair.maps, kind)[0].values()}


def was_seen(files: Files, digests: Collection[str]) -> bool:
    """Whether a file of a case has one of these digests; files of one value, as of empty maps, tell nothing."""
    if len(files.all) > 1 and digest(files.all) in digests:
        return True
    return any(digest([path]) in digests and np.ptp(read_array(path).array) > 0 for path in files.all)


def digest(paths: Iterable[Path]) -> str:
    """Digest of the contents of files."""
    found = hashlib.blake2b(digest_size=16)
    for path in paths:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest())
    return found.hexdigest()


def stamp(paths: Iterable[Path], settings: str = "") -> str:
    """Digest of settings and of place, size and time of files: whether what was made of them still holds."""
    facts = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return hashlib.sha256(json.dumps([settings, facts]).encode()).hexdigest()
