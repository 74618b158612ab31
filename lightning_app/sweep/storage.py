"""Where a sweep's queue is kept: a journal file or a database, opened so that kills and torn records do no harm."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend

from lightning_app.errors import UserError
from lightning_app.system.lock import Lock

log = logging.getLogger(__name__)
PAUSES = (0.1, 0.3, 1.0)  # seconds between attempts to open a database
_RECORD = b'{"op_code"'  # what every record begins with


class Journal(BaseJournalBackend):
    """Optuna's journal in one file, a JSON record a line, that outlives kills, power cuts and full disks.

    Writers lock the file itself, so a lock dies with its holder. A record is read once its line has ended; one that is
    no JSON is left out by every reader alike, so all replay the same records. What a dead writer left without its end
    is ended before the next record is written.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._offset = 0
        self._number = 0  # sound records before the offset
        self._line = 0
        self._told: set[int] = set()
        with Lock(path) as lock:
            _end_last_line(lock.descriptor)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The sound records from a number on."""
        if log_number_from < self._number:
            self._offset = self._number = self._line = 0
        with self.path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # its writer is at it
                self._offset += len(line)
                self._line += 1
                record = self._record(line)
                if record is None:
                    continue
                self._number += 1
                if self._number > log_number_from:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, whole and to the disk, or none of them."""
        text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in logs).encode()
        with Lock(self.path) as lock:
            _end_last_line(lock.descriptor)
            end = os.lseek(lock.descriptor, 0, os.SEEK_END)
            try:
                written = os.write(lock.descriptor, text)
                if written < len(text):
                    raise OSError(28, "No space left on device", str(self.path))
                os.fsync(lock.descriptor)
            except OSError as error:
                os.ftruncate(lock.descriptor, end)
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _record(self, line: bytes) -> dict[str, Any] | None:
        """A line's record; behind the torn one of a dead writer there may stand a whole one."""
        begin = line.rfind(_RECORD)
        try:
            record = json.loads(line[max(begin, 0) :])
        except ValueError:
            record = None
        sound = isinstance(record, dict) and {"op_code", "worker_id"} <= record.keys()
        if (begin != 0 or not sound) and line.strip(b"\0\n") and self._line not in self._told:
            self._told.add(self._line)
            log.warning("%s: line %d was torn (a kill, a full disk): left out", self.path, self._line)
        return record if sound else None


def _end_last_line(descriptor: int) -> None:
    """Give the last record of a file the end that its writer could not give it."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def open_storage(address: str) -> BaseStorage:
    """Open the storage of a queue, which is made where it is missing.

    Args:
        address: Path of a journal file, or a database address.

    Returns:
        Optuna's storage.

    Raises:
        UserError: The database cannot be opened.
    """
    if "://" not in address:
        return JournalStorage(Journal(Path(address)))
    from sqlalchemy.exc import SQLAlchemyError

    options = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    for pause in PAUSES:
        with suppress(SQLAlchemyError):  # two that make the same tables at once: next time they are there
            return RDBStorage(address, engine_kwargs=options)
        time.sleep(pause)
    try:
        return RDBStorage(address, engine_kwargs=options)
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(f"--storage {address}: cannot be opened: {error}") from error
