"""The numbers of single cases of a folder of maps: what `calibrate --method cases` promises and `apply` writes."""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import torch

import metrics
from lightning_app.calibration.cases import describe, promise_cases
from lightning_app.files import append_csv, read_csv, write_csv
from lightning_app.maps.fitted import FittedCalibrator, digests_of
from lightning_app.maps.folder import Folder
from lightning_app.maps.problems import head_of, stacked
from lightning_app.maps.reading import Form
from lightning_app.maps.scoring import Measure, case_sums
from lightning_app.training.case_sheet import case_numbers, columns

SHEET = "cases.csv"


def promise_of_cases(folder: Folder, options: argparse.Namespace) -> None:
    """Find intervals of volumes and which cases pass, on the maps as they are, and keep them in a file.

    Raises:
        UserError: If the cases are too few for intervals, or an argument is out of range.
    """
    names = head_of(folder.form).names
    found = (case_sums(folder.read(pair), folder, Measure()) for pair in folder.pairs.pairs)
    rows = [row for sums in found for row in metrics.rows_from_sums(sums, names)]
    confidence = 0.9 if options.confidence is None else options.confidence
    promises = promise_cases(rows, names, options.dice, options.level, confidence)
    out = Path(options.out)
    FittedCalibrator("cases", {}, [], folder.form, digests_of(folder), cases=promises).save(out)
    usage = "apply writes it into cases.csv, evaluate --promise checks it"
    sys.stdout.write(describe(promises, str(out), usage))


@dataclass
class Sheet:
    """The table of the cases that a folder of calibrated maps holds.

    Args:
        folder: Of the maps.
        fitted: What was promised of each case, if anything.
        largest: Whether the largest probability makes the masks.
    """

    folder: Path
    fitted: FittedCalibrator
    largest: bool
    columns: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = ["case", *columns(head_of(self.fitted.form).names)]

    def add(self, name: str, probs: np.ndarray, labels: np.ndarray, affine: np.ndarray | None, form: Form) -> None:
        """Write the row of a case: what its maps, (K, *S) or of regions (R, *S), say of its mask (*S)."""
        spacing = None if affine is None else tuple(nibabel.affines.voxel_sizes(affine)[: labels.ndim].tolist())
        mask, promises = torch.from_numpy(labels), self.fitted.cases
        numbers = case_numbers(head_of(form), stacked(probs, form), mask, spacing, promises, self.largest)
        append_csv(self.folder / SHEET, {"case": name, **numbers}, self.columns)

    def tidy(self) -> set[str]:
        """Leave one whole row a case, the last that was written, in the order of the names; give these."""
        rows = {row["case"]: row for row in read_csv(self.folder / SHEET, appended=True)}
        write_csv(self.folder / SHEET, [rows[name] for name in sorted(rows)], self.columns)
        return set(rows)
