"""Fetch archives with a checksum and unpack them without trusting them."""

import logging
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datamodules.errors import DataError

log = logging.getLogger(__name__)
MAX_BYTES = 400 << 30
MAX_FILES = 2_000_000
MAX_RATIO = 200


@dataclass(frozen=True)
class Archive:
    """A file that the owner of a data set serves.

    Args:
        url: Where.
        checksum: `sha256:...` or `md5:...`.
    """

    url: str
    checksum: str

    @property
    def name(self) -> str:
        """File name."""
        return PurePosixPath(self.url).name


def fetch(archives: Sequence[Archive], root: Path, progress: bool = True) -> None:
    """Download and unpack archives into `root`; the folder appears only when everything is there.

    What was downloaded stays beside the root in `<root>.download` until all is unpacked, so that a broken connection
    does not lose finished files, and is removed then.

    Args:
        archives: What to fetch.
        root: Folder that must not exist yet.
        progress: Show a progress bar.

    Raises:
        DataError: If a file cannot be fetched, its checksum differs, or an archive is hostile.
    """
    store = root.with_name(f"{root.name}.download")
    store.mkdir(parents=True, exist_ok=True)
    paths = [_retrieve(archive, store, progress) for archive in archives]
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for path in paths:
            log.info("unpacking %s", path)
            unpack(path, part)
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(store)


def _retrieve(archive: Archive, store: Path, progress: bool) -> Path:
    import pooch

    try:
        downloader = pooch.HTTPDownloader(progressbar=progress, timeout=60)
        name = pooch.retrieve(archive.url, archive.checksum, archive.name, store, downloader=downloader)
    except ValueError as error:
        raise DataError(
            f"{archive.url}: the checksum is not {archive.checksum}. Try again, or get it by hand."
        ) from error
    except OSError as error:
        raise DataError(f"{archive.url}: cannot be fetched ({error}). Check the network, or get it by hand.") from error
    return Path(name)


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
                tar.extractall(folder, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"{path}: cannot be unpacked ({error}). Download it again.") from error
    except DataError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


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
        if stat.S_ISLNK(member.external_attr >> 16):
            _refuse(path, member.filename, "is a link")


def _check_tar(path: Path, tar: tarfile.TarFile, folder: Path) -> None:
    members = tar.getmembers()
    _check_totals(path, folder, len(members), sum(member.size for member in members))
    for member in members:
        _check_name(path, member.name, folder)
        if not (member.isfile() or member.isdir()):
            _refuse(path, member.name, "is a link or device")
