"""A lock on a file that the system takes back when its holder dies, whatever killed it."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from lightning_app.errors import UserError

CLAIM = ".lock"  # the file in a claimed folder


class Lock:
    """An exclusive lock between processes, and between machines whose shared file system knows `flock` (NFS v4 does).

    It hangs on the open file: a child that inherits the descriptor holds it too, until the last holder has ended. The
    file itself stays where it is; unlinking it would let two processes lock two files of one name.

    Args:
        path: The file; made with its folder where it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock.

        Args:
            wait: Wait for it, however long its holder lives.

        Returns:
            False where another process holds it and `wait` is false.

        Raises:
            UserError: The file system has no such locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise UserError(f"{self.path}: this file system has no locks ({error.strerror}); use another") from error
        except BaseException:  # Ctrl-C while it waits
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    @property
    def descriptor(self) -> int:
        """The open file, for a child that is to share the lock (`pass_fds`)."""
        if self._descriptor is None:
            raise RuntimeError(f"{self.path} is not locked by this object")
        return self._descriptor

    def release(self) -> None:
        """Give the lock back, for all who share it."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lock":
        self.take(wait=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(path: str | Path) -> bool:
    """Whether some living process holds the lock on `path`; False where there is no such file."""
    if not Path(path).is_file():
        return False
    lock = Lock(path)
    taken = lock.take()
    lock.release()
    return not taken


def claim(folder: Path, what: str) -> IO[str]:
    """Claim a folder until the returned file is closed or the process dies, however it dies.

    Unlike a `Lock`, a claim is not shared by forked children: loader workers that outlive a killed training for some
    seconds do not keep the next one out.

    Args:
        folder: The folder; it exists.
        what: What is done there, in words.

    Raises:
        UserError: If another process has claimed it.
    """
    file = (folder / CLAIM).open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return file  # a disk without locks
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise UserError(f"{folder}: {what} there already ({holder}); wait until that process has ended") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file
