"""Which file belongs to which case: a folder or a pattern with {name}, and the pairs that two of them make."""

import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from datamodules import readers
from lightning_app.errors import UserError

ENDINGS = (
    *readers.VOLUME_ENDINGS,
    ".npz",
    ".npy",
    *(e for e in readers.IMAGE_ENDINGS if e not in readers.VOLUME_ENDINGS),
)
_PLACE = re.compile(r"(\{name\}|\{class\}|\*)")


@dataclass(frozen=True)
class Files:
    """The files of one case: by the class that a name says, or under "" where no name says one."""

    name: str
    by_class: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def all(self) -> list[Path]:
        """Every file of the case."""
        return [path for paths in self.by_class.values() for path in paths]


@dataclass(frozen=True)
class Pair:
    """What is known of one case: its maps, its label, those of other raters, and what belongs to them."""

    name: str
    maps: Files
    label: Files
    valid: Path | None = None
    image: Path | None = None
    raters: tuple[Files, ...] = ()


@dataclass(frozen=True)
class Pairs:
    """Cases that have a map and a label, and what was left over on either side."""

    pairs: list[Pair]
    maps_alone: list[str]
    labels_alone: list[str]


def ending_of(path: Path) -> str:
    """The known ending of a file in lower case, `.nii.gz` being one, or "" for a file of another kind."""
    name = path.name.lower()
    return next((end for end in ENDINGS if name.endswith(end)), "")


def stem_of(path: Path) -> str:
    """File name without its known ending."""
    return path.name[: len(path.name) - len(ending_of(path))] if ending_of(path) else path.stem


def find(text: str, option: str) -> dict[str, Files]:
    """The files of each case, in the natural order of the names.

    Args:
        text: A folder, or a path with {name} for the case, {class} for a class's name or number, `*` for anything.
        option: How the command line calls it, for messages.

    Raises:
        UserError: If there is nothing, or two files claim one place.
    """
    found = _in_folder(Path(text), option) if _PLACE.search(text) is None else _by_pattern(text, option)
    if not found:
        raise UserError(f"{option} {text}: no file with a known ending fits; known are {', '.join(ENDINGS)}")
    return {name: found[name] for name in sorted(found, key=readers.natural)}


def root_of(text: str) -> Path:
    """The folder that a folder or pattern starts from."""
    return Path(text) if _PLACE.search(text) is None else _compiled(text)[0]


def group_classes(found: dict[str, Files], classes: Sequence[str], cases: Collection[str]) -> dict[str, Files]:
    """Take `<case>_<class>` or `<case>_<number>` files of a plain folder together, a file a class.

    Args:
        found: The files by their stems.
        classes: Class names, background first; the background may lack a file.
        cases: Names on the other side: a stem that is one of them is a case of its own, unless both sides have several
            files a case that are called by classes.

    Returns:
        The files by case, or `found` where they are not named so.
    """
    if any(set(files.by_class) != {""} for files in found.values()):
        return found
    if any(name in cases for name in found):
        named = _by_suffix(found, _names(classes), classes, ()) or {}
        several = bool(named) and all(len(files.by_class) > 1 for files in named.values())
        return named if several else found  # both sides have a file a class
    grouped = _by_suffix(found, _names(classes), classes, cases) or _by_suffix(found, _numbers(classes), classes, cases)
    return grouped or found


def group_as_fitted(found: dict[str, Files], classes: Sequence[str], apart: bool, text: str) -> dict[str, Files]:
    """Take the files of a plain folder together as those of a fit were, there being no labels that name the cases.

    Args:
        found: The files by their stems.
        classes: Class names, background first; the background may lack a file.
        apart: Whether each class had a file of its own.
        text: What the command line gave, for messages.

    Raises:
        UserError: If each class had a file of its own, and these files are not named so.
    """
    if any(set(files.by_class) != {""} for files in found.values()):
        return found
    if named := _by_suffix(found, _names(classes), classes, ()):
        return named
    numbered = _by_suffix(found, _numbers(classes), classes, ())
    pattern = "'{name}_{class}.png'"
    if apart and not numbered:
        raise UserError(
            f"--probs {text}: the fit had a file a class, and these are not all named <case>_<class>, as "
            f"{next(iter(found))}; name the class in a pattern, as {pattern}"
        )
    if numbered and not apart:
        sys.stdout.write(
            f"WARNING   each file is a case of its own, as in the fit, though they are numbered as classes; {pattern} "
            "takes them together\n"
        )
    return numbered if numbered and apart else found


def class_number(name: str, classes: Sequence[str]) -> int | None:
    """Which class the name of a file says: by name, in capitals too where that is plain, or by number."""
    if name in classes:
        return classes.index(name)
    alike = [k for k, own in enumerate(classes) if own.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    return int(name) if name.isdigit() and int(name) < len(classes) else None


def _names(classes: Sequence[str]) -> dict[str, str]:
    return {f"_{name}": name for name in classes}


def _numbers(classes: Sequence[str]) -> dict[str, str]:
    return {f"_{k}": name for k, name in enumerate(classes)}


def pair(
    maps: dict[str, Files],
    labels: dict[str, Files],
    valid: dict[str, Files] | None = None,
    images: dict[str, Files] | None = None,
) -> Pairs:
    """Join by name.

    Raises:
        UserError: If no name is on both sides, or a case lacks its mask of the field of view.
    """
    both = [name for name in maps if name in labels]
    if not both:
        ours, theirs = list(maps)[:3], list(labels)[:3]
        raise UserError(
            f"no map has a label of the same name: maps are {', '.join(ours)}, labels {', '.join(theirs)}; "
            "name the varying part by {name}, as --labels 'labels/{name}_gt.png'"
        )
    if valid is not None and (without := [name for name in both if name not in valid]):
        raise UserError(f"--valid: no file for {len(without)} of {len(both)} cases, first {without[0]}")
    pairs = [Pair(name, maps[name], labels[name], _one(valid, name), _one(images, name)) for name in both]
    return Pairs(pairs, [n for n in maps if n not in labels], [n for n in labels if n not in maps])


def _one(found: dict[str, Files] | None, name: str) -> Path | None:
    files = found.get(name) if found else None
    return files.all[0] if files else None


def _by_pattern(text: str, option: str) -> dict[str, Files]:
    """The files that a pattern names."""
    if "{name}" not in text:
        raise UserError(f"{option} {text}: must hold {{name}}, which stands for the case, or be a folder")
    root, expression, depth = _compiled(text)
    if not root.is_dir():
        raise UserError(f"{option} {text}: no such folder {root}")
    found: dict[str, Files] = {}
    for path in _walk(root, depth):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match:
            parts = match.groupdict()
            files = found.setdefault(parts["name"], Files(parts["name"]))
            held = files.by_class.setdefault(parts.get("class") or "", [])
            if held:
                raise UserError(f"{option} {text}: {held[0]} and {path} are both {parts['name']}; narrow the pattern")
            held.append(path)
    return found


def _compiled(text: str) -> tuple[Path, re.Pattern[str], int]:
    """Folder before the first place, expression of what follows, and how many folders deep that lies."""
    parts = PurePosixPath(text).parts
    fixed = next(i for i, part in enumerate(parts) if _PLACE.search(part))
    seen: set[str] = set()
    pieces = []
    for piece in _PLACE.split("/".join(parts[fixed:])):
        if piece in ("{name}", "{class}"):
            group = piece[1:-1]
            pieces.append(f"(?P={group})" if group in seen else f"(?P<{group}>[^/]+?)")
            seen.add(group)
        else:
            pieces.append("[^/]*" if piece == "*" else re.escape(piece))
    return Path(*parts[:fixed]), re.compile("".join(pieces)), len(parts) - fixed


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Visible files exactly `depth` levels down."""
    for path in sorted(folder.iterdir()):
        if not readers.is_visible(path):
            continue
        if depth == 1 and path.is_file():
            yield path
        elif depth > 1 and path.is_dir():
            yield from _walk(path, depth - 1)


def _in_folder(folder: Path, option: str) -> dict[str, Files]:
    """The files of a plain folder by their stems, or its sub-folders where each holds a case, as MONAI writes them."""
    if not folder.is_dir():
        raise UserError(f"{option} {folder}: no such folder; a pattern holds {{name}}, as {folder}/{{name}}.png")
    paths = [path for path in _walk(folder, 1) if ending_of(path)]
    if not paths:
        return _in_sub_folders(folder, option)
    found: dict[str, Files] = {}
    for path in paths:
        found.setdefault(stem_of(path), Files(stem_of(path))).by_class.setdefault("", []).append(path)
    return found


def _in_sub_folders(folder: Path, option: str) -> dict[str, Files]:
    """A sub-folder a case with one file in it whose name begins with the folder's, or with one file of any name.

    Raises:
        UserError: If two files of a sub-folder are called as it is.
    """
    within: dict[str, list[Path]] = {}
    for path in _walk(folder, 2):
        if ending_of(path):
            within.setdefault(path.parent.name, []).append(path)
    found: dict[str, Files] = {}
    for name, paths in within.items():
        own = [path for path in paths if path.name.startswith(name)] or (paths if len(paths) == 1 else [])
        if len(own) > 1:
            raise UserError(f"{option} {folder}: {own[0]} and {own[1]} are both {name}; give a pattern with {{name}}")
        if own:
            found[name] = Files(name, {"": own})
    if found and (without := [name for name in within if name not in found]):
        sys.stdout.write(
            f"WARNING   {option} {folder}: {len(without)} sub-folders hold several files of other names and are left "
            f"out, first {without[0]}; a pattern with {{name}} takes them\n"
        )
    return found


def _by_suffix(
    found: dict[str, Files], suffixes: dict[str, str], classes: Sequence[str], cases: Collection[str]
) -> dict[str, Files] | None:
    """The files under their names less the suffix; None unless every file has one and every case enough of them."""
    grouped: dict[str, Files] = {}
    for stem, files in found.items():
        suffix = max((end for end in suffixes if stem.casefold().endswith(end.casefold())), key=len, default="")
        name = stem[: len(stem) - len(suffix)]
        if not suffix or (cases and name not in cases):
            return None
        grouped.setdefault(name, Files(name)).by_class[suffixes[suffix]] = files.all
    enough = all(len(files.by_class) >= len(classes) - 1 for files in grouped.values())
    return {name: grouped[name] for name in sorted(grouped, key=readers.natural)} if enough else None
