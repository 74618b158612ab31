"""One array in one file, read as it lies and written back as it came: NIfTI, NumPy, PNG, TIFF."""

import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules import DataError, readers
from datamodules.itk import write_nrrd
from datamodules.metaimage import write_metaimage
from datamodules.nifti import open_header, write_nibabel
from datamodules.paths import META_ENDINGS, decoding
from datamodules.writers import write_atomic
from lightning_app.maps.pairing import ending_of

NIFTI = (".nii.gz", ".nii")
NUMPY = (".npz", ".npy")
TIFF = (".tif", ".tiff")
VOLUMES = tuple(end for end in readers.VOLUME_ENDINGS if end not in TIFF)
KEYS = ("probabilities", "softmax")  # nnU-Net's second and first version


@dataclass(frozen=True)
class Stored:
    """An array as a file holds it.

    Attributes:
        source: The file.
        array: The numbers; whole numbers of 8 or 16 bits are not scaled yet.
        shape: The shape in the file, which may have an axis of length one more.
        affine: 4x4 matrix from indices to mm, for volumes that know it.
        key: Name of the array in an .npz.
        others: The other arrays of an .npz.
    """

    source: Path
    array: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None = None
    key: str = ""
    others: dict[str, np.ndarray] = field(default_factory=dict)

    def emptied(self) -> "Stored":
        """The same without the numbers: shape and type remain, which writing asks for."""
        return replace(self, array=np.broadcast_to(np.zeros((), self.array.dtype), self.array.shape))


def read_array(path: Path, shown: bool = False) -> Stored:
    """Read the array of a file.

    Args:
        path: The file.
        shown: Decode a palette, and stretch 1 to 4 bits, as of a map; else the numbers are those stored, as of labels.

    Raises:
        DataError: If the file cannot be read, or holds colours or several arrays.
    """
    ending = ending_of(path)
    if ending in VOLUMES:
        volume = readers.read_volume(path)
        array = volume.array
        if array.dtype == np.float64 and ending in NIFTI and open_header(path).get_data_dtype() != np.float64:
            array = array.astype(np.float32)  # whole numbers that a slope scales
        return Stored(path, array, array.shape, volume.affine)
    if ending in NUMPY:
        return _read_numpy(path)
    if shown and ending not in TIFF:
        return _read_shown(path)
    array = _read_tiff(path) if ending in TIFF else readers.read_mask(path, "labels")
    return Stored(path, _grey(path, array), array.shape)


def array_names(path: Path) -> list[str]:
    """Names of the arrays of an .npz, without reading them.

    Raises:
        DataError: If it is no .npz.
    """
    with decoding(path), np.load(path, allow_pickle=False) as file:
        return list(file.files)


def write_array(path: Path, array: np.ndarray, like: Stored) -> Path:
    """Write numbers in [0, 1] in the file's own type, shape and header; the file appears whole or not at all.

    Args:
        path: Where to write; its ending says how.
        array: The numbers, on the grid of `like.array`.
        like: The file that the numbers were read from.

    Raises:
        DataError: If the format cannot hold probabilities, as JPEG.
    """
    values = _typed(array, like.array.dtype)
    ending = ending_of(path)
    if ending in VOLUMES:
        return _write_volume(path, values, like)
    if ending == ".npy":
        return write_atomic(path, lambda part: np.save(part, values))
    if ending == ".npz":
        arrays: dict[str, Any] = {like.key: values, **like.others}
        return write_atomic(path, lambda part: np.savez_compressed(part, **arrays))
    if values.ndim < len(like.shape):
        values = np.repeat(values[..., None], like.shape[-1], axis=-1)
    if ending in TIFF:
        import tifffile

        return write_atomic(path, lambda part: tifffile.imwrite(part, values))
    from PIL import Image

    return write_atomic(path, Image.fromarray(values).save)


def check_writable(path: Path) -> None:
    """Refuse a file in whose format nothing can be written that is read again as it was.

    Raises:
        DataError: For JPEG, DICOM and other formats of pictures than PNG, BMP and TIFF.
    """
    ending = ending_of(path)
    if ending not in (*NUMPY, *TIFF, *NIFTI, *META_ENDINGS, ".nrrd", ".nhdr", ".mgz", ".mgh", ".png", ".bmp"):
        cure = "NIfTI" if ending in VOLUMES else "PNG or TIFF"
        raise DataError(f"{path}: {ending} does not keep the numbers it is given; convert to {cure}.")


def write_labels(path: Path, labels: np.ndarray, like: Stored, stored: np.ndarray) -> Path:
    """Write a hard mask in the type and header of another.

    Args:
        path: Where to write; its ending says how.
        labels: Class numbers on the grid of `like.array`.
        like: The mask that it takes the place of.
        stored: The value of each label.
    """
    values = stored[labels].astype(like.array.dtype)
    ending = ending_of(path)
    if ending in VOLUMES:
        return _write_volume(path, values, like)
    if ending in TIFF:
        import tifffile

        return write_atomic(path, lambda part: tifffile.imwrite(part, values))
    from PIL import Image

    return write_atomic(path, Image.fromarray(values).save)


def levels_of(dtype: np.dtype) -> int:
    """The whole number that stands for one: 255 and 65,535 for 8 and 16 bits without sign, else 0."""
    return int(np.iinfo(dtype).max) if dtype in (np.uint8, np.uint16) else 0


def _typed(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    top = levels_of(dtype)
    return np.ascontiguousarray(np.rint(array * top).astype(dtype) if top else array.astype(dtype))


def _write_volume(path: Path, values: np.ndarray, like: Stored) -> Path:
    """A volume in the format and with the header of the one that was read."""
    ending = ending_of(path)
    if ending in META_ENDINGS:
        return write_atomic(path, lambda part: write_metaimage(part, values, like.source))
    if ending in (".nrrd", ".nhdr"):
        return write_atomic(path, lambda part: write_nrrd(part, values, like.source))
    if ending in (".mgz", ".mgh"):
        return write_atomic(path, lambda part: write_nibabel(part, values, None, like.source))
    return _write_nifti(path, values, like)


def _write_nifti(path: Path, values: np.ndarray, like: Stored) -> Path:
    """A NIfTI file with the header of the one that was read, whose number type is kept."""
    import nibabel

    source = open_header(like.source)
    header, kind = source.header.copy(), source.get_data_dtype()
    header.set_data_dtype(kind)
    image = type(source)(values.reshape(source.shape), source.affine, header)
    return write_atomic(path, lambda part: nibabel.save(image, part))


def _read_numpy(path: Path) -> Stored:
    """An .npy, or the one array of an .npz; pickled objects are refused, so nothing in the file can run."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return Stored(path, loaded, loaded.shape)
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is no NumPy file of plain numbers ({error}). Save it by numpy.save.") from error
    key = next((name for name in KEYS if name in arrays), next(iter(arrays)) if len(arrays) == 1 else "")
    if not key:
        raise DataError(f"{path}: holds {', '.join(arrays) or 'nothing'}. Name the map `probabilities`.")
    array = arrays.pop(key)
    return Stored(path, array, array.shape, key=key, others=arrays)


def _read_tiff(path: Path) -> np.ndarray:
    """An image, or a stack of any number of pages that no image reader takes."""
    import tifffile

    with decoding(path), tifffile.TiffFile(path) as file:
        shape = file.series[0].shape
        stack = len(shape) > 2 and shape[-1] not in (3, 4)
        array = file.series[0].asarray() if stack else None
    return readers.read_mask(path, "labels") if array is None else array


def _read_shown(path: Path) -> Stored:
    """A picture of numbers as a viewer shows it; one with a palette becomes plain grey."""
    from PIL import Image

    with decoding(path), Image.open(path) as image:
        mode = image.mode
    if mode == "P":
        array = _grey(path, readers.read_mask(path, "colour"))
        return Stored(path, array, array.shape)
    array = readers.read_mask(path, "labels" if mode in ("RGB", "RGBA") else "grey")
    return Stored(path, _grey(path, array), array.shape)


def _grey(path: Path, array: np.ndarray) -> np.ndarray:
    """A grey picture that was stored as RGB, as one channel."""
    if array.ndim == 3 and array.shape[-1] in (3, 4) and array.dtype.kind != "f":
        if (array[..., :3] != array[..., :1]).any():
            raise DataError(f"{path}: is in colour. A probability map is grey; save p times 255 or 65535.")
        return array[..., 0]
    return array
