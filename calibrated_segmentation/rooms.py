"""How the rooms are found where a folder or module of the user's bears the same name."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).parents[1]
ROOMS = ("losses", "metrics", "models", "datamodules")
PREFIX = f"{__package__}."


def is_ours(name: str) -> bool:
    """Whether the top-level name of a room, loaded or not, stands for our room.

    Example:
        >>> is_ours("losses"), is_ours("json")
        (True, False)
    """
    loaded = sys.modules.get(name)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(name)
    except (ImportError, ValueError):  # what stands there cannot even be looked at
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin) == HOME / name / "__init__.py"


def claim() -> None:
    """Make the top-level names of the rooms ours in this process, whatever lies in the working directory.

    For the program, which names its classes `losses.DiceLoss`, not for a library in somebody else's process.

    Raises:
        ImportError: If a module of another origin was already imported under one of the names.

    Example:
        >>> claim()  # first thing in a program that names its classes `losses.DiceLoss`
        >>> import losses
        >>> is_ours("losses")
        True
    """
    for name in ROOMS:
        if name in sys.modules and not is_ours(name):
            place = getattr(sys.modules[name], "__file__", None) or "elsewhere"
            raise ImportError(
                f"a module {name!r} from {place} was imported before this program, which has a room of that name: "
                f"import lightning_app first, or use `from calibrated_segmentation import {name}` without the program"
            )
    if not any(isinstance(finder, _Claimed) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Claimed())


def serve() -> None:
    """Let this package's submodules be the rooms.

    Example:
        >>> serve()
        >>> import calibrated_segmentation.losses, losses
        >>> calibrated_segmentation.losses.DiceLoss is losses.DiceLoss
        True
    """
    if not any(isinstance(finder, _Served) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Served())


class _Claimed(MetaPathFinder):
    """Finds the rooms at home, before the working directory."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(HOME)]) if name in ROOMS else None


class _Served(MetaPathFinder):
    """Finds `calibrated_segmentation.<room>`: the top-level room where that is ours, else a room of its own."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        inner = name.removeprefix(PREFIX)
        room = inner.partition(".")[0]
        if inner == name or room not in ROOMS:
            return None
        if is_ours(room):
            return ModuleSpec(name, _Alias(inner))
        return PathFinder.find_spec(name, [str(HOME)]) if inner == room else None


class _Alias(Loader):
    """Loads a module by importing it under its first name, so that there is one object of each class."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the first name in the place of the new one."""
        sys.modules[module.__name__] = importlib.import_module(self.name)
