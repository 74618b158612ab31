"""What is told to the user in one line; every other error is a fault of code and keeps its traceback."""

import sysconfig
import traceback
from types import FrameType

ROOMS = frozenset(["lightning_app", "datamodules", "losses", "metrics", "models", "calibrated_segmentation"])
RAISING = ROOMS | {"jsonargparse"}  # which raises its own ValueErrors
PARSERS = frozenset(["ArgumentError", "MisconfigurationException"])  # jsonargparse's and Lightning's, told by name:
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})  # to import neither


class UserError(ValueError):
    """Something that the user gave cannot be used: an argument, a file, a folder, a machine.

    The message is one line: the thing, its value, and the cure.
    """


def is_users(error: BaseException) -> bool:
    """Whether an error speaks of what the user gave, so that its message is enough.

    That is what this program raises for the user, what the parser refuses, what our rooms say of their arguments, and
    files that cannot be read. An error out of the user's own loss, network or data is a fault of code, whatever its
    kind, also where it comes from a call of ours.
    """
    if isinstance(error, OSError | UserError) or PARSERS & {kind.__name__ for kind in type(error).__mro__}:
        return not _through_users_code(error)
    return isinstance(error, ValueError) and _raised_in(error) in RAISING and not _through_users_code(error)


def _raised_in(error: BaseException) -> str:
    return [_room(frame) for frame, _ in traceback.walk_tb(error.__traceback__)][-1]


def _through_users_code(error: BaseException | None) -> bool:
    """Whether code that is neither ours nor a library's lies on the way to an error, or to what it was made of."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if _room(frame) not in ROOMS and not frame.f_code.co_filename.startswith((*LIBRARIES, "<")):
                return True
        error = error.__cause__ or error.__context__
    return False


def _room(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
