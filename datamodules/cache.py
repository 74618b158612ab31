"""Prepared volumes on disk: made once, read through memory maps, safe with several processes.

An entry is a folder whose name is the hash of its sources (path, size, times and inode of every file) and of all
parameters, so that a changed file or parameter can never meet an old entry, not even one put in its place with the old
time. It is written beside its place and moved there in one step: a killed process leaves nothing that looks like an
entry, and when two make the same one the second throws its own away. Each process checks the whole content of an entry
when it first opens it, and trusts it from then on as long as size and times stay.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case
from .errors import DataError
from .paths import present
from .preparation import Preparation, PreparedVolume
from .readers import parts

log = logging.getLogger(__name__)
VERSION = 4
_CHUNK = 1 << 22
_STALE_SECONDS = 24 * 3600


def default_cache() -> Path:
    """`$SEGMENTATION_CACHE`, else a folder of the user's own cache."""
    if os.environ.get("SEGMENTATION_CACHE"):
        return Path(os.environ["SEGMENTATION_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "segmentation_volumes"


def entry_key(case: Case, parameters: object) -> str:
    """Hash of the case's files (path, size, times, inode), of whose they are, and the parameters."""
    sources = []
    for path in (part for file in case.files for part in parts(file)):
        try:
            status = path.stat()
        except FileNotFoundError:
            present(path)  # which says why
            raise
        sources.append([str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    text = json.dumps([VERSION, sources, case.raters, repr(parameters)])
    return hashlib.sha256(text.encode()).hexdigest()


class VolumeCache:
    """Folder of prepared volumes.

    Args:
        folder: Where.
        max_open: Volumes mapped at once; older ones are unmapped, which bounds resident memory.
    """

    def __init__(self, folder: Path, max_open: int = 16) -> None:
        self.folder, self.max_open = folder, max_open
        self._open: OrderedDict[tuple[str, ...], PreparedVolume] = OrderedDict()
        self._checked: dict[Path, tuple[int, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def get(
        self, case: Case, preparation: Preparation, salt: object, make: Callable[[], PreparedVolume]
    ) -> PreparedVolume:
        """The prepared volume, from the map that is open, from disk, or made now and written.

        Args:
            case: Whose files are the source.
            preparation: Parameters.
            salt: Whatever else decides the result (mask coding, channels).
            make: Prepares the case.
        """
        known = self._open.get(case.key)
        if known is not None:
            self._open.move_to_end(case.key)
            return known
        path = self.path(entry_key(case, (preparation, salt)))
        source = case.images[0]
        volume = self._read(path, preparation, source)
        if volume is None:
            self._write(path, make())
            volume = self._read(path, preparation, source)
        if volume is None:
            raise DataError(f"{path}: the cache cannot be read back. Check the disk, or choose another cache_dir.")
        self._open[case.key] = volume
        while len(self._open) > self.max_open:
            self._open.popitem(last=False)
        return volume

    def path(self, key: str) -> Path:
        """Folder of an entry."""
        return self.folder / key[:2] / key

    def check_room(self, size: int) -> None:
        """Refuse to begin if `size` bytes will not fit.

        Raises:
            DataError: If the disk has less room.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        log.info("prepared volumes take %.1f GB in %s", size / 1e9, self.folder)
        if size > free:
            raise DataError(
                f"cache_dir {self.folder}: {size / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free. "
                "Make room, or set cache_dir to another disk."
            )

    def _write(self, path: Path, volume: PreparedVolume) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        part = self.folder / f"part-{uuid.uuid4().hex}"
        part.mkdir()
        try:
            arrays = {"image": volume.image, "foreground": volume.foreground}
            if volume.mask is not None:
                arrays["mask"] = volume.mask
            sums = {}
            for name, array in arrays.items():
                np.save(part / f"{name}.npy", array)
                sums[name] = _checksum(part / f"{name}.npy")
            geometry = volume.geometry
            facts = {
                "sums": sums,
                "shape": geometry.original_shape,
                "spacing": geometry.spacing,
                "affine": np.asarray(geometry.affine).tolist(),
                "fill": volume.fill,
            }
            (part / "entry.json").write_text(json.dumps(facts))
            part.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes left, once it is a day old."""
        for part in self.folder.glob("part-*"):
            try:
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(part, ignore_errors=True)
            except FileNotFoundError:
                continue

    def _read(self, path: Path, preparation: Preparation, source: Path) -> PreparedVolume | None:
        """Open an entry if it is there and whole; a damaged one is removed."""
        if not path.is_dir():
            return None
        try:
            facts = json.loads((path / "entry.json").read_text())
            for name, expected in facts["sums"].items():
                self._check(path / f"{name}.npy", tuple(expected))
            # copy on write: the file is never changed, and torch takes no read-only array
            image = np.load(path / "image.npy", mmap_mode="c")
            mask = np.load(path / "mask.npy", mmap_mode="c") if "mask" in facts["sums"] else None
            foreground = np.load(path / "foreground.npy")
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s: %s; making it again", path, error)
            shutil.rmtree(path, ignore_errors=True)
            return None
        geometry = preparation.geometry(facts["shape"], np.array(facts["affine"]), facts["spacing"], source)
        return PreparedVolume(image, mask, geometry, foreground, facts["fill"])

    def _check(self, path: Path, expected: tuple[int, ...]) -> None:
        """Compare a file with its size and checksum, once for each state that it is found in."""
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if self._checked.get(path) != state:
            if _checksum(path) != expected:
                raise ValueError(f"{path.name} is damaged")
            self._checked[path] = state


def _checksum(path: Path) -> tuple[int, int]:
    """Size of a file, and the checksum of all of it."""
    value, size = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value, size = zlib.crc32(chunk, value), size + len(chunk)
    return size, value
