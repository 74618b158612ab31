"""Fetch what the owner of a data set serves, and unpack archives without trusting them."""

import logging
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import DataError
from .transfer import retrieve

log = logging.getLogger(__name__)
MAX_BYTES = 400 << 30
MAX_FILES = 2_000_000
MAX_RATIO = 200
DAMAGES = (  # what zipfile, tarfile and the decompressors under them raise on damaged or encrypted archives
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    ValueError,
    struct.error,
)
# Python 3.11.0 to 3.11.3 have no filters; `_check_tar` refuses what the filter would.
TAR_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


@dataclass(frozen=True)
class Archive:
    """A zip or tar file that the owner of a data set serves.

    Args:
        url: Where.
        checksum: `sha256:...` or `md5:...`; None where the owner publishes none.
        folder: Folder under the root that its content belongs to, whether or not the archive names it too.
        entries: Least number of files and folders at its top (in `folder`), which stands in for a checksum.
    """

    url: str
    checksum: str | None
    folder: str = ""
    entries: int | None = None

    @property
    def name(self) -> str:
        """File name."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class RemoteFile:
    """A single file that the owner of a data set serves.

    Args:
        url: Where.
        target: Its place under the root.
        checksum: As for `Archive`.
    """

    url: str
    target: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        """Its name among what is being fetched."""
        return self.target.replace("/", "_")


def fetch(sources: Sequence[Archive | RemoteFile], root: Path, progress: bool = True) -> None:
    """Download archives and files into `root`; the folder appears only when everything is there.

    What was downloaded stays beside the root in `<root>.download` until all is in place, finished files and begun ones
    alike, so that the next call goes on where a broken connection or a killed process stopped; then it is removed.

    Args:
        sources: What to fetch.
        root: Folder that must not exist yet.
        progress: Show a progress bar.

    Raises:
        DataError: If a file cannot be fetched or is not what its owner published, or an archive is hostile.
    """
    store = root.with_name(f"{root.name}.download")
    store.mkdir(parents=True, exist_ok=True)
    paths = [retrieve(source.url, source.checksum, store / source.name, progress) for source in sources]
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for source, path in zip(sources, paths, strict=True):
            if isinstance(source, Archive):
                _place_archive(source, path, part)
            else:
                _place_file(path, part / source.target)
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(store)


def _place_file(path: Path, target: Path) -> None:
    """Give the file a second name, so that nothing is lost if this is interrupted; copy where the disk has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, target)


def _place_archive(archive: Archive, path: Path, part: Path) -> None:
    """Unpack into the folder that the content belongs to, and count what is there."""
    log.info("unpacking %s", path)
    folder = part / archive.folder
    inner = folder / archive.folder
    unpack(path, folder)
    if archive.folder and inner.is_dir():
        for entry in inner.iterdir():
            entry.rename(folder / entry.name)
        inner.rmdir()
    found = len(list(folder.iterdir()))
    if archive.entries is not None and found < archive.entries:
        path.unlink()
        raise DataError(f"{archive.url}: holds {found} entries, {archive.entries} are expected. Get it by hand.")


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar file; nothing leaves the folder, links and devices are refused, so is what swells absurdly.

    Raises:
        DataError: If the archive is broken or hostile; nothing of it stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                _check_zip(path, archive, folder)
                archive.extractall(folder)
        else:
            with tarfile.open(path) as tar:
                _check_tar(path, tar, folder)
                tar.extractall(folder, **TAR_FILTER)
                while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                    pass  # to the end, where the compressed stream holds its checksum
    except DataError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except DAMAGES as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be unpacked ({reason}). Download it again.") from error


def _refuse(path: Path, member: str, why: str) -> None:
    raise DataError(f"{path}: member {member!r} {why}. Do not use this archive.")


def _check_name(path: Path, member: str, folder: Path) -> None:
    target = (folder / member).resolve()
    if "\\" in member or not target.is_relative_to(folder.resolve()):
        _refuse(path, member, "leaves the folder")


def _check_totals(path: Path, folder: Path, count: int, size: int) -> None:
    packed = max(path.stat().st_size, 1)
    if count > MAX_FILES or size > MAX_BYTES or (size > 1 << 20 and size / packed > MAX_RATIO):
        raise DataError(
            f"{path}: {count} files, {size} bytes unpacked from {packed} are absurd. Do not use this archive."
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(f"{path}: needs {size >> 20} MiB unpacked, {free >> 20} MiB are free in {folder}. Make room.")


def _check_zip(path: Path, archive: zipfile.ZipFile, folder: Path) -> None:
    members = archive.infolist()
    _check_totals(path, folder, len(members), sum(member.file_size for member in members))
    for member in members:
        _check_name(path, member.filename, folder)
        if member.flag_bits & 1:
            _refuse(path, member.filename, "is encrypted")
        if stat.S_ISLNK(member.external_attr >> 16):
            _refuse(path, member.filename, "is a link")


def _check_tar(path: Path, tar: tarfile.TarFile, folder: Path) -> None:
    members = tar.getmembers()
    _check_totals(path, folder, len(members), sum(member.size for member in members))
    for member in members:
        _check_name(path, member.name, folder)
        if not (member.isfile() or member.isdir()):
            _refuse(path, member.name, "is a link or device")
