"""Files that a kill or a full disk cannot spoil: whole or not at all; tables are read as they were written."""

import csv
import errno
import io
import math
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_app.errors import UserError

PART = ".part-"  # what a staged file's name begins with
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell of text that begins so
HARMLESS = re.compile(r"[-+\d.,eE±()\[\] to%]*")  # numbers and intervals, which are none
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NODES = 100_000  # of a YAML document, its aliases written out


class DiskFull(UserError):
    """A file could not be written for want of room.

    Args:
        path: The file.
        needed: Bytes that were to be written, where known.
    """

    def __init__(self, path: Path, needed: int = 0) -> None:
        folder = next(place for place in (path.parent, *path.parent.absolute().parents) if place.exists())
        free = shutil.disk_usage(folder).free
        wanted = f"{needed / 1e6:.1f} MB needed, " if needed else ""
        super().__init__(
            f"no room to write {path}: {wanted}{free / 1e6:.1f} MB free on that disk (or the quota is used up); "
            f"make room, then run the same command again, a training by fit --resume"
        )


def write_atomic(path: Path, write: Callable[[Path], object], needed: int = 0) -> Path:
    """Write a file so that a reader, a kill or a power cut leaves the old one or the new one, never a half.

    It is staged beside its place, so that the last move stays on one disk, and forced to the disk before.

    Args:
        path: The file.
        write: Called with the path to write to; it has the file's own ending.
        needed: Bytes that will be written, where known, for the message of a full disk.

    Returns:
        The file.

    Raises:
        DiskFull: If there is no room for it.
    """
    part = path.with_name(part_name(path.suffix))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in NO_ROOM:
            part.unlink(missing_ok=True)
            raise DiskFull(path, needed) from error
        raise
    finally:
        part.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file, atomically."""
    return write_atomic(path, lambda part: part.write_text(text, encoding="utf-8"), len(text))


def remove_leftovers(*folders: Path) -> None:
    """Remove what writers on this machine staged in these folders and did not live to move to its place."""
    for folder in folders:
        for part in folder.glob(f"{PART}{socket.gethostname()}-*"):
            writer = part.name.rsplit("-", 2)[1]
            if writer.isdigit() and not _lives(int(writer)):
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def part_name(suffix: str = "") -> str:
    """A name for what is staged, which tells the machine and the process that stages it."""
    return f"{PART}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Path:
    """Write rows as CSV, atomically.

    Args:
        path: The file.
        rows: Floats are written in full, missing and not-a-number values as empty cells; text that a spreadsheet would
            run as a formula gets an apostrophe in front, which `read_csv` takes away.
        columns: Names of the columns; those of the first row if left out.
    """
    rows = list(rows)
    columns = list(columns or (rows[0] if rows else ()))
    return write_text(path, csv_text([columns, *_cells(rows, columns)]) if columns else "")


def append_csv(path: Path, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Append a row to a CSV file in one write; a kill leaves at most half of this row, which `read_csv` leaves out.

    Raises:
        DiskFull: If there is no room for it.
    """
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            file.write(csv_text(_cells([row], columns)))
    except OSError as error:
        raise DiskFull(path) if error.errno in NO_ROOM else error from error


def read_csv(path: str | Path, appended: bool = False) -> list[dict[str, str]]:
    """Rows of a CSV file that this project wrote, as text; none where there is no file.

    Args:
        path: The file.
        appended: Rows were appended one by one: a last one that a kill left without its end is left out.

    Raises:
        UserError: If the file is no such table, or cut off.
    """
    if not Path(path).is_file():
        return []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        table = list(csv.reader(io.StringIO(whole if appended else text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: no table of comma-separated values ({error})") from error
    if not appended and whole != text:
        raise UserError(f"{path}: cut off in row {len(table)}")
    if not table:
        return []
    header, *lines = table
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            raise UserError(f"{path}: row {number} has {len(line)} cells, its header {len(header)}")
    return [dict(zip(header, map(_text, line), strict=True)) for line in lines]


def csv_text(table: Iterable[Sequence[Any]]) -> str:
    """Rows of cells as text; see `write_csv` for how a cell is written."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows([_cell(value) for value in row] for row in table)
    return buffer.getvalue()


def load_yaml(text: str, origin: str | Path) -> Any:
    """The plain data of a YAML text, less documents that aliases blow up ("billion laughs").

    Args:
        text: The document.
        origin: What to call it in an error.

    Raises:
        UserError: If it is no YAML, or has more than 100,000 nodes once its aliases are written out.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        size = 0 if node is None else _size(node, {})
        data = loader.construct_document(node) if 0 < size <= NODES else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{origin}: no YAML that can be read ({' '.join(str(error).split())})") from error
    if size > NODES:
        raise UserError(f"{origin}: its aliases stand for more than {NODES:,} values; write them out")
    return data


def read_yaml(path: str | Path) -> Any:
    """The plain data of a YAML file; see `load_yaml`."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no text in UTF-8 ({error})") from error
    return load_yaml(text, path)


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """Nodes under a node with every alias written out; infinite where an alias stands for what it is inside of."""
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_size(one, known) for part in parts for one in _nodes(part))
    return known[id(node)]


def _nodes(part: Any) -> tuple[yaml.Node, ...]:
    """The nodes of an item: itself, or key and value."""
    return part if isinstance(part, tuple) else (part,)


def _cells(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> list[list[Any]]:
    return [[row.get(column) for column in columns] for row in rows]


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        runs = value.lstrip("'").startswith(FORMULA_STARTS) and not HARMLESS.fullmatch(value)
        return f"'{value}" if runs else value
    if value is None or isinstance(value, bool | int):
        return value
    return "" if math.isnan(value) else repr(float(value))


def _text(cell: str) -> str:
    """A cell as it was before the apostrophe."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(FORMULA_STARTS) else cell
