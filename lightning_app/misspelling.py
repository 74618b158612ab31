"""What a misspelt class or argument was meant to be: the parser's message about it, put into words with a cure."""

import difflib
import importlib
import inspect
import re

ROOMS = {"model.loss": "losses", "model.net": "models", "model.inference": "models", "data": "datamodules"}
KEY = re.compile(r'Parser key "([\w.]+)"')
NO_CLASS = re.compile(r"Expected a path but (?:([\w.]+)\.)?(\w+) either not accessible or invalid")
REASON = re.compile(r"Problem with given class_path '[\w.]+': ([^:]+?)(?: - Expected|$)")
NO_ARGUMENT = re.compile(r"class_path '([\w.]+)\.(\w+)': Option '(\w+)' is not accepted")


def in_words(message: str) -> str:
    """The message, or what stands for it where it speaks of a class or an argument that does not exist here."""
    message = " ".join(message.split())
    key = KEY.search(message)
    if key and (found := NO_ARGUMENT.search(message)):
        return _no_argument(key[1], *found.groups())
    if key and (found := NO_CLASS.search(message)):
        room = found[1] or ROOMS.get(key[1], "")
        if room in ROOMS.values() and found[2] not in importlib.import_module(room).__all__:
            return _no_class(key[1], room, found[2])
        if room not in ROOMS.values() and (reason := REASON.search(message)):
            cure = "; install it, or start where it lies" if "No module" in reason[1] else ""
            return f"--{key[1]}: cannot load {room}.{found[2]}: {reason[1]}{cure}"
    return message


def _no_class(key: str, room: str, name: str) -> str:
    near = _near(name, importlib.import_module(room).__all__)
    cure = f"did you mean {' or '.join(f'{room}.{n}' for n in near)}?" if near else "fit --help lists what there is"
    return f"--{key}: there is no {room}.{name}; {cure}"


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
