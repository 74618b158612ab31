"""What the makers of fakes share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def blob(shape: Sequence[int], rng: np.random.Generator, radius: float = 0.3) -> np.ndarray:
    """Boolean ball somewhere near the middle."""
    centre = [size * rng.uniform(0.4, 0.6) for size in shape]
    axes = np.ogrid[tuple(slice(0, size) for size in shape)]
    distance = sum(((axis - c) / (size * radius)) ** 2 for axis, c, size in zip(axes, centre, shape, strict=True))
    return distance < 1


def picture(mask: np.ndarray, rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """Noisy uint8 image `(H, W, channels)` that is brighter where the mask is."""
    values = 80 + 80 * (mask > 0)[..., None] + rng.integers(0, 40, (*mask.shape, channels))
    return values.astype(np.uint8)


def save_image(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    """Write an image; `mode` converts it first ("1", "P", "RGBA")."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def save_palette(path: Path, indices: np.ndarray, colours: Sequence[Sequence[int]]) -> Path:
    """Write a palette image (GIF or PNG) of which the stored values are indices."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette([value for colour in colours for value in colour])
    image.save(path)
    return path


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write NIfTI."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def save_metaimage(
    path: Path, array: np.ndarray, spacing: Sequence[float] = (1, 1, 1), compressed: bool = False
) -> Path:
    """Write `(X, Y, Z)` as MetaImage: `.mha` in one file, `.mhd` with a `.raw` beside it."""
    import zlib

    path.parent.mkdir(parents=True, exist_ok=True)
    types = {"int16": "MET_SHORT", "uint8": "MET_UCHAR", "float32": "MET_FLOAT"}
    local = path.suffix == ".mha"
    data = array.transpose().tobytes()
    data = zlib.compress(data) if compressed else data
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(compressed),
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "5 -7 11",
        "ElementSpacing": " ".join(map(str, spacing)),
        "DimSize": " ".join(map(str, array.shape)),
        "ElementType": types[str(array.dtype)],
        "ElementDataFile": "LOCAL" if local else path.with_suffix(".raw").name,
    }
    header = "".join(f"{key} = {value}\n" for key, value in fields.items()).encode()
    path.write_bytes(header + data if local else header)
    if not local:
        path.with_suffix(".raw").write_bytes(data)
    return path
