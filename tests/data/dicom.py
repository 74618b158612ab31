"""Fakes of DICOM series."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

CT = "1.2.840.10008.5.1.4.1.1.2"


def save_series(
    folder: Path,
    array: np.ndarray,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    cosines: Sequence[float] = (1, 0, 0, 0, 1, 0),
    origin: Sequence[float] = (0, 0, 0),
    step: Sequence[float] | None = None,
    slope: Sequence[float] = (1.0,),
    name: str = "IM{number:04d}",
) -> Path:
    """Write int16 `(X, Y, Z)` as one file a slice, their names in another order than their places.

    Args:
        folder: Where.
        array: Stored values, before slope and intercept (-1000).
        spacing: mm on x, y, z.
        cosines: Directions of x and y in DICOM's left-posterior axes.
        origin: Place of the first voxel.
        step: Vector from slice to slice; along the normal by default.
        slope: Rescale slope of each slice, repeated.
        name: Of a file.
    """
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    uids = generate_uid(), generate_uid(), generate_uid()
    turn = np.array(cosines, float).reshape(2, 3)
    step = np.cross(*turn) * spacing[2] if step is None else np.array(step, float)
    for number in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CT, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CT, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = uids
        data.PatientID, data.PatientName = "phantom", "Phantom^A"
        data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = data.AccessionNumber = ""
        data.StudyID, data.Modality, data.SeriesNumber, data.InstanceNumber = "1", "CT", 1, number + 1
        data.PositionReferenceIndicator = ""
        data.ImagePositionPatient = [f"{v:.6f}" for v in np.array(origin) + number * step]
        data.ImageOrientationPatient = [f"{v:.9f}" for v in turn.ravel()]
        data.PixelSpacing, data.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        data.Rows, data.Columns = array.shape[1], array.shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = slope[number % len(slope)], -1000
        data.PixelData = np.ascontiguousarray(array[..., number].T.astype("<i2")).tobytes()
        place = (number * 7 + 3) % array.shape[2] if array.shape[2] % 7 else array.shape[2] - 1 - number
        pydicom.dcmwrite(folder / name.format(number=place), data, enforce_file_format=True)
    return folder
