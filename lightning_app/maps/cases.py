"""The numbers of single cases of a folder of maps: what `calibrate --method cases` promises and `apply` writes."""

import argparse
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import metrics
from lightning_app.calibration.cases import describe, promise_cases
from lightning_app.errors import UserError
from lightning_app.files import append_csv, read_csv, write_csv
from lightning_app.maps.fitted import FittedCalibrator
from lightning_app.maps.folder import Folder, findings
from lightning_app.maps.labels import Label
from lightning_app.maps.problems import head_of, stacked, traits_of
from lightning_app.maps.reading import Form
from lightning_app.maps.scoring import Measure, case_sums
from lightning_app.training import drift
from lightning_app.training.case_sheet import case_numbers, columns, unit_of
from lightning_app.training.drift import TraitTable

SHEET = "cases.csv"


def promise_of_cases(folder: Folder, options: argparse.Namespace) -> None:
    """Find intervals of volumes and which cases pass, on the maps as they are, and keep them in a file.

    Raises:
        UserError: If the cases are too few for intervals, or an argument is out of range.
    """
    names = head_of(folder.form).names
    rows, traits = [], []
    units: dict[str, str] = {}
    found: Counter[str] = Counter()
    for pair in folder.pairs.pairs:
        case = folder.read(pair)
        found += case.map.found
        units.setdefault(label_unit(case.label), case.name)
        rows += metrics.rows_from_sums(case_sums(case, folder, Measure()), names)
        traits.append(traits_of(case.map, folder.form))
    sys.stdout.write("".join(f"{line}\n" for line in findings(found, len(traits))))
    if len(units) > 1:
        told = ", ".join(f"{unit} ({name})" for unit, name in units.items())
        raise UserError(f"--labels {options.labels}: volumes are in {told}; give labels of one kind")
    confidence = 0.9 if options.confidence is None else options.confidence
    promises = promise_cases(rows, names, options.dice, options.level, confidence)
    out = Path(options.out)
    kept = drift.columns(traits)
    FittedCalibrator.of("cases", folder, cases=promises, traits=kept, unit=next(iter(units))).save(out)
    usage = "apply writes it into cases.csv, evaluate --promise checks it"
    sys.stdout.write(describe(promises, str(out), usage))


def label_unit(label: Label) -> str:
    """The unit of volumes that a label knows."""
    return unit_of(label.spacing if label.volume else None, label.array.ndim)


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
    traits: TraitTable | None = field(init=False)

    def __post_init__(self) -> None:
        names = head_of(self.fitted.form).names
        self.columns = ["case", *columns(names)]
        self.traits = TraitTable(self.folder, names) if self.fitted.promises or self.fitted.cases else None

    def add(
        self,
        name: str,
        probs: np.ndarray,
        labels: np.ndarray,
        spacing: tuple[float, ...] | None,
        form: Form,
        outside: np.ndarray | None = None,
    ) -> None:
        """Write the row of a case.

        Args:
            name: Of the case.
            probs: Its maps, (K, *S) or of regions (R, *S).
            labels: Its mask, (*S).
            spacing: Size of a voxel in mm; None where nothing says it.
            form: Of the maps.
            outside: Where nothing counts, (*S).
        """
        head = head_of(form)
        if self.traits is not None:
            self.traits.add(name, head.traits(stacked(probs, form)))
        if outside is not None:
            probs, labels = probs * ~outside, labels * ~outside
            if not form.regions:
                probs[0][outside] = 1
        maps, mask, promises = stacked(probs, form), torch.from_numpy(labels), self.fitted.cases
        numbers = case_numbers(head, maps, mask, spacing, promises, self.largest)
        append_csv(self.folder / SHEET, {"case": name, **numbers}, self.columns)

    def tidy(self, names: Collection[str]) -> set[str]:
        """Leave the last whole row of each of these cases, in the order of the names; give the cases that have one."""
        rows = {row["case"]: row for row in read_csv(self.folder / SHEET, appended=True) if row["case"] in names}
        write_csv(self.folder / SHEET, [rows[name] for name in sorted(rows)], self.columns)
        if self.traits is not None:
            self.traits.begin(dict.fromkeys(rows, ""))
        return set(rows)

    def finish(self, names: Collection[str]) -> None:
        """Tidy up, and say where the cases look unlike those that a promise was made from."""
        done = self.tidy(names)
        if self.traits is not None:
            drift.check(self.folder, self.fitted.traits, self.traits.cases(dict.fromkeys(done, "")))
