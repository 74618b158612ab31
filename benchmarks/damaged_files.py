"""Damaged files by the thousand: is each refused in one line, and is none accepted with other contents?

    python -m benchmarks.damaged_files                  # 2,000 files, about a minute
    python -m benchmarks.damaged_files --files 200 --seed 1

Small sound files of every format are truncated, have bits flipped, blocks zeroed, cut out or doubled, and are read as
the program reads them. Each ends as one of: *refused* with the one-line error; *whole*, read with all contents as they
were (the damage hit padding, a comment, or nothing that counts); *other*, read with other contents; *crash*, an
exception that is not ours. `other` is a fault wherever the format can tell: truncated files of all formats, and any
damage to the part of a file that a checksum covers. Elsewhere (a bit of an uncompressed pixel, a digit of a header in
plain text) nobody can tell; these are counted apart.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np

from datamodules import DataError, readers

CUT, CHANGES = "truncated", ("flipped", "zeroed", "cut out", "doubled")


class Kind(NamedTuple):
    """A format.

    Args:
        write: Writes a sound file.
        read: Reads it; gives everything that counts.
        covered: Where a checksum begins to cover the file, as a function of its bytes; None where none does.
    """

    write: Callable[[Path], object]
    read: Callable[[Path], tuple]
    covered: Callable[[bytes], int] | None = None


def picture() -> np.ndarray:
    """Noise over a gradient, so that no part is like another."""
    noise = np.random.default_rng(0).integers(0, 60, (33, 41, 3))
    return (noise + np.arange(41)[:, None] * 4).astype(np.uint8)


def volume() -> np.ndarray:
    """The same as a volume."""
    return np.random.default_rng(0).integers(-900, 900, (13, 11, 9)).astype(np.int16)


def read_picture(path: Path) -> tuple:
    """Pixels."""
    return (readers.read_image(path, 3),)


def read_volume(path: Path) -> tuple:
    """Voxels and place."""
    found = readers.read_volume(path)
    readers.volume_header(path)
    return found.array, found.affine


def pil(path: Path) -> None:
    """Write by Pillow."""
    from PIL import Image

    Image.fromarray(picture()).save(path)


def nifti(path: Path) -> None:
    """Write NIfTI."""
    import nibabel

    nibabel.save(nibabel.Nifti1Image(volume(), np.diag([1.0, 2, 3, 1])), path)


def freesurfer(path: Path) -> None:
    """Write MGH."""
    import nibabel

    nibabel.save(nibabel.MGHImage(volume(), np.diag([1.0, 2, 3, 1])), path)


def itk(compressed: bool) -> Callable[[Path], None]:
    """Writer by ITK."""

    def write(path: Path) -> None:
        import SimpleITK as sitk

        sitk.WriteImage(sitk.GetImageFromArray(volume()), str(path), useCompression=compressed)

    return write


def tiff(path: Path) -> None:
    """Write a deflated picture."""
    import tifffile

    tifffile.imwrite(path, picture(), compression="zlib", photometric="rgb", metadata=None)


def stack(path: Path) -> None:
    """Write a volume as pages."""
    import tifffile

    tifffile.imwrite(path, volume(), photometric="minisblack")


def behind(mark: bytes) -> Callable[[bytes], int]:
    """Where the voxels begin: behind a mark."""
    return lambda data: data.index(mark) + len(mark)


def strips(data: bytes) -> int:
    """Where the first strip of a TIFF begins."""
    import tifffile

    with tempfile.NamedTemporaryFile(suffix=".tif") as file:
        file.write(data)
        file.flush()
        with tifffile.TiffFile(file.name) as tif:
            return max(int(tif.pages[0].dataoffsets[0]), 0)


def kinds() -> dict[str, Kind]:
    """Every format by its ending."""
    everything: Callable[[bytes], int] = lambda data: 0  # noqa: E731
    return {
        ".png": Kind(pil, read_picture, everything),
        ".jpg": Kind(pil, read_picture),
        ".bmp": Kind(pil, read_picture),
        ".gif": Kind(pil, read_picture),
        ".ppm": Kind(pil, read_picture),
        ".tif": Kind(pil, read_picture),
        " deflated.tif": Kind(tiff, read_picture, strips),
        " stack.tif": Kind(stack, read_volume),
        ".nii": Kind(nifti, read_volume),
        ".nii.gz": Kind(nifti, read_volume, everything),
        ".mgh": Kind(freesurfer, read_volume),
        ".mgz": Kind(freesurfer, read_volume, everything),
        ".mha": Kind(itk(False), read_volume),
        " deflated.mha": Kind(itk(True), read_volume, behind(b"LOCAL\n")),
        ".nrrd": Kind(itk(False), read_volume),
        " gzip.nrrd": Kind(itk(True), read_volume, behind(b"\n\n")),
    }


def damage(data: bytes, how: str, start: int, rng: np.random.Generator) -> bytes:
    """The bytes, damaged somewhere from `start` on."""
    place = int(rng.integers(start, len(data)))
    length = int(rng.integers(1, 200))
    if how == CUT:
        return data[:place]
    if how == "flipped":
        return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    if how == "zeroed":
        block = data[place : place + length]
        return data[:place] + bytes(len(block)) + data[place + length :]
    if how == "cut out":
        return data[:place] + data[place + length :]
    return data[: place + length] + data[place:]


def outcome(kind: Kind, path: Path, sound: tuple) -> str:
    """What became of reading a damaged file."""
    try:
        found = kind.read(path)
    except DataError as error:
        if "\n" not in str(error) and str(path.parent) in str(error):
            return "refused"
        print(f"{path.name}: not one line that names the file: {error}", file=sys.stderr)
        return "crash"
    except Exception as error:
        print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return "crash"
    same = all(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(found, sound, strict=True))
    return "whole" if same else "other"


def tries(files: int, seed: int) -> Iterator[tuple[str, str, bool, str]]:
    """For each damaged file its format, its damage, whether the format can tell, and the outcome."""
    formats = kinds()
    with tempfile.TemporaryDirectory() as folder:
        sound = {}
        for name, kind in formats.items():
            path = Path(folder) / f"sound{name}"
            kind.write(path)
            sound[name] = (path.read_bytes(), kind.read(path))
        for number in range(files):
            rng = np.random.default_rng([seed, number])
            name = list(formats)[number % len(formats)]
            how = CUT if rng.random() < 0.35 else str(rng.choice(CHANGES))
            data, contents = sound[name]
            kind = formats[name]
            start = kind.covered(data) if kind.covered and rng.random() < 0.7 else 0
            tells = how == CUT or (kind.covered is not None and start >= kind.covered(data))
            harmed = damage(data, how, start, rng)
            if harmed == data:
                continue
            path = Path(folder) / f"{number}{name}"
            path.write_bytes(harmed)
            yield name, how, tells, outcome(kind, path, contents)
            path.unlink()


def main(files: int, seed: int) -> int:
    """Print the table; 1 where there was a crash or a damaged file was accepted."""
    counts = Counter(
        (name, "other, cannot be told" if what == "other" and not tells else what)
        for name, _, tells, what in tries(files, seed)
    )
    columns = ("refused", "whole", "other", "crash", "other, cannot be told")
    print("| format | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    names = sorted({name for name, _ in counts})
    for name in [*names, "all"]:
        row = [sum(n for (k, what), n in counts.items() if what == c and name in (k, "all")) for c in columns]
        print(f"| `{name.strip()}` | " + " | ".join(map(str, row)) + " |")
    return int(any(what in ("other", "crash") for _, what in counts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(main(**vars(parser.parse_args())))
