"""The one exception for everything that can be wrong with data on disk."""

from pathlib import Path


class DataError(ValueError):
    """A folder, file or split cannot be used.

    The message is one line: the thing (file, folder or argument), what is wrong with it, and the cure. When a loader's
    worker process raises it, torch wraps the message into a traceback; the own line is taken out of it again.

    Args:
        message: The line.

    Example:
        >>> from datamodules import Phantom
        >>> Phantom(num_classes=1)
        Traceback (most recent call last):
            ...
        datamodules.errors.DataError: num_classes=1: must be 2..255.
    """

    def __init__(self, message: str = "") -> None:
        if "DataLoader worker" in message:
            message = message.rsplit("DataError: ", 1)[-1].strip()
        super().__init__(message)


def missing(path: Path, package: str, otherwise: str = "") -> DataError:
    """The error where a package of the extra is needed and not installed."""
    return DataError(
        f"{path}: to read it the package {package} is needed. "
        f"Install the extra, pip install 'calibrated-segmentation[formats]'{otherwise}."
    )
