"""DICOM: a series as one volume through SimpleITK, segmentations through highdicom; both come with the extra `formats`.

Where a series lies is taken from the positions of its slices, sorted along their normal, so that a tilted gantry and a
reversed order come out right, and missing or doubled slices are noticed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, missing
from .itk import as_array, simpleitk
from .paths import IMAGE_ENDINGS, VOLUME_ENDINGS, check_size, decoding, files

_SEG, _RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
_MAGIC = b"DICM"
_FOREIGN = (*(e for e in (*VOLUME_ENDINGS, *IMAGE_ENDINGS) if e != ".dcm"), ".raw", ".zraw", ".json", ".csv", ".txt")
_TAGS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "RescaleSlope",
    "RescaleIntercept",
]
_UNEVEN = 0.05  # of the distance between slices
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """The slices of a series, sorted along their normal.

    Args:
        paths: Their files.
        headers: Their headers.
        shape: (x, y, z).
        affine: 4x4, indices to mm, right-anterior-superior.
    """

    paths: tuple[Path, ...]
    headers: tuple[Any, ...]
    shape: tuple[int, ...]
    affine: np.ndarray


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its ending or its first bytes; it often has no ending."""
    if path.name.lower().endswith(_FOREIGN) or not path.is_file():
        return False
    if path.suffix.lower() == ".dcm":
        return True
    with path.open("rb") as file:
        return file.read(132)[128:] == _MAGIC


def dicom_series(folder: Path) -> list[Path]:
    """The image series of a folder: the folder itself where it is one, else the first file of each; often none.

    Raises:
        DataError: If there are DICOM files, but no package to read them.
    """
    groups = _image_groups([path for path in files(folder, ("",)) if is_dicom(path)])
    return [folder] if len(groups) == 1 else [next(iter(group)) for group in groups]


def series_files(path: Path) -> tuple[Path, ...]:
    """All files that a volume comes from, given its folder or one of its slices."""
    if path.is_file() and _header(path).SOPClassUID == _SEG:
        return (path,)
    return tuple(files(path if path.is_dir() else path.parent, ("",)))


def _header(path: Path) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise missing(path, "highdicom") from error
    with decoding(path):
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)


def _image_groups(paths: list[Path]) -> list[dict[Path, Any]]:
    """Headers by file, for each series of images in the order of their names."""
    groups: dict[str, dict[Path, Any]] = {}
    for path in paths:
        header = _header(path)
        if "Rows" in header and header.SOPClassUID not in (_SEG, _RTSTRUCT):
            groups.setdefault(str(header.SeriesInstanceUID), {})[path] = header
    return list(groups.values())


def find_series(path: Path) -> Series:
    """The series of a folder, or the one that a slice belongs to.

    Raises:
        DataError: If there is none or more than one, or its slices are no volume.
    """
    folder = path if path.is_dir() else path.parent
    groups = _image_groups([p for p in files(folder, ("",)) if is_dicom(p)])
    if path.is_file():
        groups = [group for group in groups if path in group]
    if len(groups) != 1:
        some = ", ".join(next(iter(group)).name for group in groups)
        raise DataError(f"{path}: holds {len(groups)} image series ({some}). Put each series into a folder of its own.")
    with decoding(path):
        return _sorted(path, groups[0])


def _sorted(path: Path, group: dict[Path, Any]) -> Series:
    headers = list(group.values())
    first = headers[0]
    if any(int(h.get("NumberOfFrames") or 1) > 1 for h in headers):
        raise DataError(f"{path}: is a multi-frame DICOM file. Convert it to NIfTI with dcm2niix.")
    if int(first.get("SamplesPerPixel") or 1) != 1:
        raise DataError(f"{path}: its voxels are colours. Export grey values.")
    if "ImagePositionPatient" not in first or "ImageOrientationPatient" not in first:
        raise DataError(f"{path}: its slices have no position in space. Export it with positions, or as NIfTI.")
    _check_alike(path, headers)
    cosines = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*cosines)
    places = np.array([h.ImagePositionPatient for h in headers], float)
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    affine = np.eye(4)
    row, column = (float(size) for size in first.PixelSpacing)
    affine[:3, 0], affine[:3, 1] = cosines[0] * column, cosines[1] * row
    affine[:3, 2], affine[:3, 3] = _step(path, places, normal, first), places[0]
    shape = (int(first.Columns), int(first.Rows), len(headers))
    check_size(path, shape)
    paths = list(group)
    return Series(tuple(paths[i] for i in order), tuple(headers[i] for i in order), shape, _TO_RAS @ affine)


def _check_alike(path: Path, headers: list[Any]) -> None:
    def facts(header: Any) -> np.ndarray:
        named = (header.ImageOrientationPatient, header.PixelSpacing, [header.Rows, header.Columns])
        return np.concatenate([np.array(values, float) for values in named])

    first = facts(headers[0])
    if any(np.abs(facts(header) - first).max() > 1e-3 for header in headers[1:]):
        raise DataError(f"{path}: its slices differ in size, spacing or direction. Put each stack into a folder.")


def _step(path: Path, places: np.ndarray, normal: np.ndarray, first: Any) -> np.ndarray:
    """Vector from slice to slice in mm.

    Raises:
        DataError: If the slices are not evenly spaced.
    """
    if len(places) == 1:
        return normal * float(first.get("SliceThickness") or 1.0)
    steps = np.diff(places, axis=0)
    gaps = steps @ normal
    typical = float(np.median(gaps))
    if (gaps < 0.01 * max(typical, 1e-3)).any():
        raise DataError(f"{path}: several slices lie at one place (a time series?). Put each time into a folder.")
    if (np.abs(steps - np.median(steps, axis=0)) > _UNEVEN * typical + 0.01).any():
        raise DataError(
            f"{path}: slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart, some are missing. Complete the series."
        )
    return (places[-1] - places[0]) / (len(places) - 1)


def read_dicom_grid(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape `(X, Y, Z)` and affine of the series of a folder, or of the one that a slice belongs to.

    Raises:
        DataError: If a package is missing, or the files are no volume.
    """
    series = find_series(path)
    return series.shape, series.affine


def read_dicom(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array `(X, Y, Z)`, rescaled as the headers say, and affine of a series.

    Raises:
        DataError: If a package is missing, or the files are damaged or no volume.
    """
    _refuse_objects(path)
    series = find_series(path)
    sitk = simpleitk(path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(p) for p in series.paths])
    scales = {(float(h.get("RescaleSlope") or 1), float(h.get("RescaleIntercept") or 0)) for h in series.headers}
    if len(scales) > 1 or any(not number.is_integer() for scale in scales for number in scale):
        reader.SetOutputPixelType(sitk.sitkFloat32)  # of which the first slice alone would not tell
    return as_array(sitk, reader.Execute()).reshape(series.shape), series.affine


def _refuse_objects(path: Path) -> None:
    kind = _header(path).SOPClassUID if path.is_file() else ""
    if kind == _RTSTRUCT:
        raise DataError(f"{path}: is an RTSTRUCT, which holds contours. Convert it to a label map with plastimatch.")
    if kind == _SEG:
        raise DataError(f"{path}: is a DICOM segmentation, no image. Use it as the mask of its series.")


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation."""
    return path.is_file() and is_dicom(path) and _header(path).SOPClassUID == _SEG


def read_segmentation(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Labels `(X, Y, Z)` of a DICOM segmentation on the grid of an image: the numbers of its segments.

    Args:
        path: The segmentation.
        shape: Shape of the image.
        affine: The image's, indices to mm.

    Raises:
        DataError: If highdicom is missing, segments overlap, or its frames do not lie on the image's voxels.
    """
    try:
        import highdicom
    except ImportError as error:
        raise missing(path, "highdicom", " or convert it with dcmqi's segimage2itkimage") from error
    with decoding(path):
        volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
        indices = np.argwhere(volume.array)
        places = np.linalg.inv(affine) @ _TO_RAS @ volume.affine @ np.c_[indices, np.ones(len(indices))].T
    nearest = np.rint(places[:3]).astype(int)
    if len(indices) and (np.abs(places[:3] - nearest).max() > 0.1 or (nearest < 0).any() or (shape <= nearest.T).any()):
        raise DataError(f"{path}: its frames do not lie on the image's voxels. Resample it on the image.")
    labels = np.zeros(shape, np.uint8)
    labels[tuple(nearest)] = volume.array[tuple(indices.T)]
    return labels


def save_segmentation(path: Path, mask: np.ndarray, series: Series, class_names: Sequence[str]) -> None:
    """Write labels `(X, Y, Z)` as a DICOM segmentation of the series.

    Args:
        path: Target.
        mask: Labels, uint8.
        series: Of the image.
        class_names: Names of the classes, background first.
    """
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        "calibrated-segmentation", codes.DCM.ArtificialIntelligence, "1"
    )
    structure = codes.SCT.AnatomicalStructure
    described = [
        highdicom.seg.SegmentDescription(
            number, name, structure, structure, highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm
        )
        for number, name in enumerate(class_names[1:], start=1)
    ]
    highdicom.seg.Segmentation(
        [pydicom.dcmread(source) for source in series.paths],
        np.ascontiguousarray(mask.transpose(2, 1, 0)),
        highdicom.seg.SegmentationTypeValues.BINARY,
        described,
        highdicom.UID(),
        1,
        highdicom.UID(),
        1,
        "calibrated-segmentation",
        "calibrated-segmentation",
        "1",
        "1",
    ).save_as(path)
