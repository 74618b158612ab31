"""The parser's messages put into words: what a misspelt name was meant to be, which value is wrong, and the cure."""

import difflib
import importlib
import inspect
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from lightning_app.shipped import HOME

ROOMS = {"model.loss": "losses", "model.net": "models", "model.inference": "models", "data": "datamodules"}
TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "NoneType": "null"}
KEYS = re.compile(r'Parser key "([\w.]+)": (.*?)(?=Parser key "|$)')
NO_CLASS = re.compile(r"Expected a path but (?:([\w.]+)\.)?(\w+) either not accessible or invalid")
REASON = re.compile(r"Problem with given class_path '[\w.]+': ([^:]+?)(?: - Expected|$)")
NO_ARGUMENT = re.compile(r"class_path '([\w.]+)\.(\w+)': Option '(\w+)' is not accepted")
ONE_TYPE = re.compile(r"Expected a (<class '\w+'>)\. Got value: (\S+)")
SOME_TYPES = re.compile(r"Subtypes: \[(.*)\] Errors: .*?Given value: (.+?)(?: - Expected|$)")
CHOICES = re.compile(r"Expected a typing\.Literal\[([^\]]*)\]\. Got value: (\S+)")
REFUSED = re.compile(r"Errors: - (?!Problem|Expected|Import)(.*?) - Expected a <class 'NoneType'>")


def of_the_machine(error: BaseException) -> str:
    """What the machine refused, in words; empty for every other error."""
    message = str(error)
    if "Bus error" in message or "shared memory" in message or "/torch_" in message:
        free = shutil.disk_usage("/dev/shm").free / 1e6 if Path("/dev/shm").is_dir() else 0.0
        return (
            f"a loader worker found no room in /dev/shm ({free:.0f} MB free): give --data.num_workers 0, or start the "
            f"container with more of it (docker run --shm-size 2g)"
        )
    if "DataLoader worker" in message and "Killed" in message:
        return "a loader worker was killed, mostly for want of memory: give fewer --data.num_workers or a smaller batch"
    return ""


def no_option(name: str, known: Collection[str]) -> str:
    """What to say of an option that there is not, beside those that there are."""
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.75)
    meant = f"did you mean {' or '.join(near)}?" if near else ""
    return f"there is no option {name}; {meant or 'fit --help lists what most people set, --help all the rest'}"


def in_words(message: str) -> str:
    """The message, or its cause in words where the parser buries it: unknown names, values that do not fit."""
    message = " ".join(message.split())
    if found := REFUSED.search(message):  # what a class said itself
        return found[1]
    keys = KEYS.findall(message)
    if not keys:
        return message
    outer, (inner, reason) = keys[0][0], keys[-1]
    if found := NO_ARGUMENT.search(message):
        return _no_argument(outer, *found.groups())
    name = inner if inner.startswith(outer) else f"{outer}.{inner}"
    own = reason.partition(" - Expected a <class 'NoneType'>")[0]
    return f"--{name}: {_no_class(name, reason) or _no_value(name, reason) or own}"


def _no_class(name: str, reason: str) -> str:
    """What to say of a class that does not exist or cannot be imported; nothing if the reason is another."""
    found = NO_CLASS.search(reason)
    room = (found[1] or ROOMS.get(name, "")) if found else ""
    if not found or not room:
        return ""
    if room not in ROOMS.values():
        why = REASON.search(reason)
        cure = "; install it, or start where it lies" if "No module" in reason else ""
        return f"cannot load {room}.{found[2]}: {why[1]}{cure}" if why else ""
    names = importlib.import_module(room).__all__
    if found[2] in names:
        return ""
    if _lies_here(room):
        return (
            f"there is no {room}.{found[2]}: {room} is a room of this program, not the {room} of this folder; "
            f"put your class into a module of another name"
        )
    near = _near(found[2], names)
    cure = f"did you mean {' or '.join(f'{room}.{n}' for n in near)}?" if near else "fit --help lists what there is"
    return f"there is no {room}.{found[2]}; {cure}"


def _lies_here(room: str) -> bool:
    """Whether the working directory has a folder or module of a room's name that is not the room."""
    return Path(f"{room}.py").is_file() or (Path(room).is_dir() and Path(room).resolve() != HOME / room)


def _no_value(name: str, reason: str) -> str:
    """What to say of a value that has none of the types; nothing if the reason is another."""
    if "is abstract" in reason:
        return f"name the class before its arguments, as --{name} PACKAGE.CLASS"
    if found := CHOICES.search(reason):
        choices = re.findall(r"'([^']*)'", found[1])
        near = _near(found[2], choices)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        return f"there is no {found[2]}; {meant}choose from {', '.join(choices)}"
    found = ONE_TYPE.search(reason) or SOME_TYPES.search(reason)
    if not found:
        return ""
    if found[1].startswith("list["):
        return f"{found[2]} is no list; write it in brackets without spaces, as --{name}=[1,2]"
    kinds = [kind.rpartition(".")[2] for kind in re.findall(r"<class '([\w.]+)'>", found[1])]
    choices = re.findall(r"'([^']*)'", " ".join(re.findall(r"Literal\[([^\]]*)\]", found[1])))
    lists = ["a list in brackets, as [0.3]"] if "list[" in found[1] else []
    expected = [*choices, *(TYPES.get(kind, kind) for kind in kinds), *lists]
    return f"expected {' or '.join(expected)}, got {found[2]}"


def _no_argument(key: str, module: str, owner: str, name: str) -> str:
    taken = _arguments(getattr(importlib.import_module(module), owner))
    near = _near(name, taken)
    meant = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join(taken) or 'no arguments'}"
    return f"--{key}.{name}: {module}.{owner} takes no {name}; {meant}"


def _arguments(kind: type) -> list[str]:
    """The names that a class takes, those that it hands on to its bases as `**options` included."""
    taken: list[str] = []
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            taken += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(dict.fromkeys(taken))


def _near(name: str, names: list[str]) -> list[str]:
    """Up to three names like this one, whatever their case."""
    lower = {other.lower(): other for other in names}
    return [lower[match] for match in difflib.get_close_matches(name.lower(), lower, cutoff=0.7)]
