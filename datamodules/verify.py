"""Check a data set on disk completely, before hours are spent on it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from . import readers
from .base import SegmentationData
from .case import Case
from .errors import DataError
from .images import ImagePipeline
from .masks import IGNORE
from .volumes import VolumeData, VolumeReader


@dataclass
class CaseReport:
    """What was found out about one case.

    Args:
        case: Its name.
        shape: Spatial shape as stored.
        spacing: Spacing as stored; empty for images.
        shares: Share of each class among the voxels that are not ignored.
        ignored: Share of ignored voxels.
        digest: Hash of the image, to find duplicates.
        problems: What is wrong.
    """

    case: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    ignored: float = 0.0
    digest: str = ""
    problems: list[str] = field(default_factory=list)


def verify(data: SegmentationData) -> Iterator[CaseReport]:
    """Read every case whole and report it: files, shapes, labels, spacing, affine, duplicates.

    Args:
        data: The data set; `setup` need not have been called.

    Raises:
        DataError: If the folder's layout is wrong, so that no case can be found.
    """
    cases = data.checked_cases()
    volumes = isinstance(data, VolumeData) and not data.reads_images
    reader = data.reader() if volumes else data.make_pipeline()  # type: ignore[attr-defined]
    seen: dict[str, str] = {}
    for case in cases:
        report = CaseReport(case.name)
        try:
            _inspect(case, reader, data.num_classes, report)
        except DataError as error:
            report.problems.append(str(error))
        if report.digest in seen:
            report.problems.append(
                f"{case.images[0]}: same image as case {seen[report.digest]!r}. Remove one of the two."
            )
        elif report.digest:
            seen[report.digest] = case.name
        yield report


def _inspect(case: Case, reader: object, num_classes: int, report: CaseReport) -> None:
    if isinstance(reader, ImagePipeline):
        image = reader.read_image(case)
        report.shape = image.shape[:2]
        mask = reader.read_mask(case, report.shape)
    elif isinstance(reader, VolumeReader):
        raw = reader.read(case)
        image, mask = raw.image, raw.mask
        report.shape, report.spacing = image.shape[1:], raw.spacing
        report.problems.extend(_affine_problems(case))
    else:
        return
    report.digest = hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()
    if image.min() == image.max():
        report.problems.append(f"{case.images[0]}: every pixel has the value {image.flat[0]}. Copy or export it again.")
    if mask is not None:
        counts = np.bincount(mask.ravel(), minlength=256)
        known = counts.sum() - counts[IGNORE]
        report.ignored = float(counts[IGNORE] / counts.sum())
        report.shares = tuple((counts[:num_classes] / max(known, 1)).tolist())
        if not known:
            report.problems.append(f"{case.masks[0]}: everything is ignored. Check the mask.")


def _affine_problems(case: Case) -> list[str]:
    """Files of a case whose grid in space is not the first image's."""
    _, affine = readers.volume_header(case.images[0])
    size = np.linalg.norm(affine[:3, :3], axis=0).min()
    problems = []
    for path in (*case.images[1:], *case.masks):
        _, other = readers.volume_header(path)
        difference = float(np.abs(other - affine).max())
        if difference > 0.05 * size:
            problems.append(f"{path}: affine is {difference:.3g} mm off the image's. Resample it on the image.")
    return problems


def summary(reports: list[CaseReport], class_names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Rows (fact, value) over all cases."""
    whole = [report for report in reports if report.shape]
    rows = [("cases", str(len(reports))), ("readable", str(len(whole)))]
    if not whole:
        return rows
    shapes = Counter(report.shape for report in whole)
    rows.append(("shapes", _spread([report.shape for report in whole]) + f" ({len(shapes)} different)"))
    spacings = [report.spacing for report in whole if report.spacing]
    if spacings:
        rows.append(("spacing, mm", _spread(spacings)))
    shares = np.array([report.shares for report in whole if report.shares])
    for number, name in enumerate(class_names if len(shares) else ()):
        column = shares[:, number]
        rows.append((f"share of {name}", f"median {np.median(column):.2%}, in {np.count_nonzero(column)} cases"))
    rows.append(("ignored", f"{np.mean([report.ignored for report in whole]):.2%}"))
    rows.append(("problems", str(sum(len(report.problems) for report in reports))))
    return rows


def _spread(values: list[tuple]) -> str:
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return " x ".join(f"{a:g}" if a == b else f"{a:.4g}-{b:.4g}" for a, b in zip(low, high, strict=True))
