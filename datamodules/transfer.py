"""One file over HTTP: goes on where a broken transfer stopped, shows its progress, and is checked before it counts."""

import gzip
import logging
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import DataError

log = logging.getLogger(__name__)
ATTEMPTS = 4
WAIT_SECONDS = 2.0
_CHUNK = 1 << 16


class ResumingDownloader:
    """A pooch downloader that keeps what it has beside the target and asks the server only for the rest.

    The partial file lies at `partial`, the server's mark of the file's version (ETag or date) beside it. The rest is
    asked for only if the file is still that version; a server that cannot give a part, a file that changed, or one
    without a mark starts the file again. A connection that breaks is tried again a few times; the partial file outlives
    the process.

    Args:
        partial: Where the file grows.
        progress: Show a progress bar.
        timeout: Seconds without an answer after which a connection counts as broken.
    """

    def __init__(self, partial: Path, progress: bool = True, timeout: float = 60.0) -> None:
        self.partial, self.progress, self.timeout = partial, progress, timeout
        self.mark = partial.with_name(f"{partial.name}.version")

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch `url` into `output_file`, as pooch asks for it.

        Raises:
            OSError: If the server refuses, or the connection broke too often.
        """
        import requests

        for attempt in range(ATTEMPTS):
            try:
                self._fetch(url)
                break
            except requests.RequestException as error:
                refused = error.response is not None and error.response.status_code < 500
                if refused or attempt == ATTEMPTS - 1:
                    raise
                log.warning("%s: %s; trying again", url, error)
                time.sleep(WAIT_SECONDS * (attempt + 1))
        self.partial.replace(output_file)
        self.mark.unlink(missing_ok=True)

    def _fetch(self, url: str) -> None:
        """One connection: the rest of the file, or all of it.

        Raises:
            requests.RequestException: If it ends before the file does.
        """
        import requests

        headers = {"Accept-Encoding": "identity"}
        have = self.partial.stat().st_size if self.partial.exists() and self.mark.exists() else 0
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": self.mark.read_text(encoding="utf-8")}
        with requests.get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if total == str(have):
                    return
                self.mark.unlink()
                raise requests.ConnectionError(f"the {have} bytes here are not a part of the {total} there")
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                have = 0
            self._write(answer, have, _name(url))

    def _write(self, answer: Any, have: int, name: str) -> None:
        """Append the answer's bytes behind the first `have` ones."""
        import requests
        from tqdm import tqdm

        version = answer.headers.get("ETag", "")
        if not version or version.startswith("W/"):  # a weak mark says "alike", not "equal byte for byte"
            version = answer.headers.get("Last-Modified", "")
        if version:
            self.mark.write_text(version, encoding="utf-8")
        else:
            self.mark.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        hidden = None if self.progress else True  # None: hidden where standard error is no terminal
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=hidden, leave=False)
        with bar, self.partial.open("ab" if have else "wb") as file:
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        size = self.partial.stat().st_size
        if total is not None and size != total:
            raise requests.ConnectionError(f"the connection ended after {size} of {total} bytes")


def _name(url: str) -> str:
    return PurePosixPath(url).name


def retrieve(url: str, checksum: str | None, path: Path, progress: bool = True) -> Path:
    """Fetch a file unless it is there; what was fetched is checked before it appears at `path`.

    Args:
        url: Where.
        checksum: `sha256:...` or `md5:...`; None where its owner publishes none: then zip and gzip files are read to
            their end against the checksums that they hold themselves.
        path: Where to put it.
        progress: Show a progress bar.

    Returns:
        The path.

    Raises:
        DataError: If it cannot be fetched, or what came is not what was to come.
    """
    import pooch

    partial = path.with_name(f"{path.name}.partial")
    known = path.exists()
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        pooch.retrieve(url, checksum, path.name, path.parent, downloader=ResumingDownloader(partial, progress))
    except ValueError as error:
        raise DataError(f"{url}: the checksum is not {checksum}. Try again, or get it by hand.") from error
    except OSError as error:
        kept = f"; {partial.stat().st_size} bytes are kept in {partial}" if partial.exists() else ""
        raise DataError(
            f"{url}: cannot be fetched ({error}){kept}. Check the network and run it again, or get it by hand."
        ) from error
    if checksum is None and not known:
        _check_inside(url, path)
        log.info("%s: no checksum is published; this one is sha256:%s", url, pooch.file_hash(str(path)))
    return path


def _check_inside(url: str, path: Path) -> None:
    """Read a zip or gzip file to its end against its own checksums; a broken one is removed."""
    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken:
                raise zipfile.BadZipFile(f"member {broken!r} is damaged")
        elif path.name.endswith(".gz"):
            with gzip.open(path) as file:
                while file.read(_CHUNK):
                    pass
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        path.unlink()
        raise DataError(f"{url}: what came is damaged ({error}). Try again, or get it by hand.") from error
