"""The folder that a data set lies in."""

import os
import re
from pathlib import Path
from typing import ClassVar

from .case import DataInfo
from .errors import DataError

OWN = "your own disk"


class DataFolder:
    """Finds the root folder of a data set: the one given as `root`, or by its name in `$SEGMENTATION_DATA`."""

    info: ClassVar[DataInfo]
    folder: ClassVar[str] = ""
    other_folders: ClassVar[tuple[str, ...]] = ()
    root: str | None

    @classmethod
    def default_folder(cls) -> str:
        """Folder name under `$SEGMENTATION_DATA`: the class name in snake case."""
        return cls.folder or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def root_path(self) -> Path:
        """The root folder.

        Raises:
            DataError: If neither `root` nor `$SEGMENTATION_DATA` is set.
        """
        if self.root:
            return Path(self.root).expanduser()
        base = os.environ.get("SEGMENTATION_DATA")
        if not base:
            name = type(self).__name__
            raise DataError(f"{name}: no folder given. Set --data.root, or the variable SEGMENTATION_DATA.")
        folders = [Path(base).expanduser() / name for name in (self.default_folder(), *self.other_folders)]
        return next((path for path in folders if path.is_dir()), folders[0])

    def advice(self, root: Path) -> str:
        """Where to get the data set and how to lay it out."""
        if self.info.source == OWN:
            return f"It must hold {self.info.layout}; `data inspect {root}` proposes options."
        return f"Get it from {self.info.source} and unpack it so that {root} holds {self.info.layout}."

    def existing_root(self) -> Path:
        """The root folder, which must exist.

        Raises:
            DataError: If it does not.
        """
        root = self.root_path()
        if not root.is_dir():
            raise DataError(
                f"{type(self).__name__}: folder {root} does not exist. Set --data.root or SEGMENTATION_DATA "
                f"(the default is $SEGMENTATION_DATA/{self.default_folder()}). {self.advice(root)}"
            )
        return root

    def subfolder(self, *names: str) -> Path:
        """First of the relative paths that is a folder under the root; also with the root's own name repeated.

        Raises:
            DataError: If none is.
        """
        root = self.existing_root()
        for name in names:
            tail = name.partition("/")[2]
            for path in (root / name, root / tail if tail else root / name):
                if path.is_dir():
                    return path
        raise DataError(f"{type(self).__name__}: {root} holds no folder {names[0]!r}. {self.advice(root)}")
