"""Check a data set on disk completely, before hours are spent on it."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .base import SegmentationData
from .case import Case
from .checks import Labels, count_labels
from .errors import DataError
from .images import ImageData, ImagePipeline
from .volume_reader import VolumeReader

_UNLIKE = 1.05


@dataclass
class CaseReport:
    """What was found out about one case.

    Args:
        case: Its name.
        shape: Spatial shape as stored.
        spacing: Spacing as stored; empty for images.
        labels: What the mask holds.
        digest: Hash of the image, to find duplicates.
        problems: What is wrong.
        remarks: What is odd about the headers of its files though they can be read.
    """

    case: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    labels: Labels | None = None
    digest: str = ""
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class among the voxels that are not ignored."""
        counts = self.labels.counts if self.labels else ()
        return tuple(count / max(sum(counts), 1) for count in counts)

    @property
    def ignored(self) -> float:
        """Share of ignored voxels."""
        return self.labels.ignored / (sum(self.labels.counts) + self.labels.ignored) if self.labels else 0.0


def verify(data: SegmentationData) -> Iterator[CaseReport]:
    """Read every case whole and report it: files, shapes, labels, spacing, affine, duplicates.

    Args:
        data: The data set; `setup` need not have been called.

    Raises:
        DataError: If the folder's layout is wrong, so that no case can be found.
    """
    cases = data.checked_cases()  # which may tell the form of the set, and with it the coding of its masks
    reader = data.label_reader()
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
        maps = reader.read_raters(case, report.shape) if case.masks else None
    elif isinstance(reader, VolumeReader):
        raw, misplaced, odd = reader.examine(case)
        image, maps = raw.image, raw.mask
        report.shape, report.spacing = image.shape[1:], raw.spacing
        report.problems.extend(misplaced)
        report.remarks.extend(odd)
    else:
        return
    report.digest = hashlib.sha256(image.ravel(order="K")).hexdigest()  # as it lies: turning it costs more than reading
    if _constant(image):
        report.problems.append(f"{case.images[0]}: every pixel has the value {image.flat[0]}. Copy or export it again.")
    if maps is not None:
        report.labels = count_labels(maps, case, num_classes)


def _constant(image: np.ndarray) -> bool:
    """Whether all values are one; a few tell most images apart without a look at all."""
    first, few = image.flat[0], image.ravel(order="K")[:: max(1, image.size // 997)]
    return bool((few == first).all() and (image == first).all())


def common_problems(data: SegmentationData, reports: Sequence[CaseReport]) -> list[str]:
    """What is wrong with the data set as a whole: images without masks, classes that no mask holds."""
    problems = []
    if data.unlabelled:
        problems.append(
            f"{data.unlabelled[0]}: has no mask{data.mask_pattern()}; {len(data.unlabelled)} images have none."
        )
    found = {report.case: report.labels for report in reports if report.labels}
    if found and len(found) == sum(bool(report.shape) for report in reports):
        cases = [case for case in data.checked_cases() if case.name in found]
        problem = data.class_problem([labels for labels in found.values() if labels], cases)
        problems += [problem] if problem else []
    return problems


def remarks(data: SegmentationData, reports: Sequence[CaseReport]) -> list[str]:
    """What is worth knowing though nothing need be wrong."""
    told = []
    if data.orphans:
        told.append(f"{len(data.orphans)} masks belong to no image, as {data.orphans[0]}")
    try:
        data.make_split(data.checked_cases())
    except DataError as error:
        told.append(f"fit refuses to divide these cases: {error}")
    told += data.notes()
    told += data.mask_remarks([report.labels for report in reports if report.labels])
    headers = [remark for report in reports for remark in report.remarks]
    if headers:
        told.append(f"{len(headers)} headers contradict themselves, as {headers[0].rstrip('.')}")
    shapes = [report.shape for report in reports if report.shape]
    if isinstance(data, ImageData) and data.size is not None and data.fit == "stretch" and shapes:
        wanted = data.size[0] / data.size[1]
        squeezed = sum(max(h / w / wanted, wanted * w / h) > _UNLIKE for h, w in shapes)
        if squeezed:
            told.append(
                f"{squeezed} of {len(shapes)} images are squeezed to {data.size[1]}x{data.size[0]} pixels; "
                "fit pad or crop keeps their aspect, size native their size"
            )
    shares = [report.shares for report in reports if report.labels]
    if len(data.class_names) == 2 and shares and np.median([share[1] for share in shares]) > 0.6:
        told.append(
            f"{data.class_names[1]!r} covers most of the typical image; where the object is dark, set invert true"
        )
    return told


def summary(reports: Sequence[CaseReport], class_names: Sequence[str]) -> list[tuple[str, str]]:
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
    shares = np.array([report.shares for report in whole if report.labels])
    for number, name in enumerate(class_names if len(shares) else ()):
        column = shares[:, number]
        rows.append((f"share of {name}", f"median {np.median(column):.2%}, in {np.count_nonzero(column)} cases"))
    rows.append(("ignored", f"{np.mean([report.ignored for report in whole]):.2%}"))
    return rows


def _spread(values: Sequence[tuple]) -> str:
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return " x ".join(f"{a:g}" if a == b else f"{a:.4g}-{b:.4g}" for a, b in zip(low, high, strict=True))
