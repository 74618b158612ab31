"""The split that a run was trained with is the law for everything after: by names, with what has changed told."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from datamodules import SegmentationData
from datamodules.case import Case
from datamodules.readers import parts
from lightning_app.errors import UserError
from lightning_app.files import read_csv, read_yaml, write_csv
from lightning_app.training.processes import is_first_process, tell
from lightning_app.training.run_folder import RunFolder

CHOICES = ("split", "split_sizes", "fold", "num_folds")  # arguments of the data that ask for a split
EARLIER = {"train": (), "val": ("train",), "test": ("train", "val")}  # what a part may have no case of
BLOCK, BLOCKS = 1 << 20, 16  # of a file larger than 16 MiB, blocks spread evenly and its end are read


class Entry(NamedTuple):
    """A case of a run's `split.csv`.

    Args:
        subset: Its part.
        content: Digest of its files as they were trained on; empty where none was kept.
    """

    subset: str
    content: str


def split_rows(datamodule: SegmentationData) -> list[dict[str, str]]:
    """Rows `case, subset, content` of the split in use, for `split.csv`."""
    found = digests(case for cases in (datamodule.subsets or {}).values() for case in cases)
    return [{**row, "content": found.get(row["case"], "")} for row in datamodule.split_table()]


def record_split(datamodule: SegmentationData, run: RunFolder) -> None:
    """Write the split in use to a run's `split.csv`, and tell what is worth knowing of it."""
    write_csv(run.split, split_rows(datamodule))
    copies = _copies(datamodule.subsets or {})
    for told in (*datamodule.notes(), *([copies] if copies else [])):
        tell(f"{type(datamodule).__name__}: {told}")


def _copies(subsets: Mapping[str, Sequence[Case]]) -> str:
    """That images of one part are copies of another part's, by their contents; empty where none is."""
    first: dict[str, tuple[Case, str]] = {}
    twins = []
    for part, case in ((part, case) for part, cases in subsets.items() for case in cases):
        other, where = first.setdefault(digest(case, case.images) or case.name, (case, part))
        if where != part:
            twins.append(f"{case.name} ({part}) that of {other.name} ({where})")
    if not twins:
        return ""
    count = "1 image is" if len(twins) == 1 else f"{len(twins)} images are"
    return f"{count} in two parts of the split, as {twins[0]}: scores will be too good. Remove or exclude the copies."


def read_split(run: RunFolder) -> dict[str, Entry]:
    """Case -> part and content, of a run's `split.csv`; empty where there is none."""
    return {row["case"]: Entry(row["subset"], row.get("content", "")) for row in read_csv(run.split)}


def follow(datamodule: Any, run: RunFolder, asked: Mapping[str, Any], parts: Collection[str]) -> None:
    """Give the data the split of a run, and tell which cases are gone, new or changed; new ones belong to no part.

    Where the user asks for another split, or none of the run's cases is among the data, theirs is used; then no case of
    `parts` may have been in another part of the run.

    Args:
        datamodule: The data, not set up yet.
        run: The run.
        asked: The data's arguments as they are now, to see whether another split is asked for.
        parts: The parts that are used.

    Raises:
        UserError: If cases that the run trained on would be scored.
    """
    law = read_split(run)
    if not law or not isinstance(datamodule, SegmentationData):
        return
    cases = {case.name: case for case in datamodule.checked_cases()}
    if _another_split(run, asked) or not cases.keys() & law.keys():
        if not cases.keys() & law.keys():
            tell(f"no case of {run.split} is among these data: taken for another data set, divided by its own split")
        _refuse_known(datamodule, law, run, parts)
        return
    datamodule.use_split({subset: _members(cases, law, subset) for subset in EARLIER})
    if is_first_process():
        _tell_changes(cases, law, run, parts)


def refuse_known(datamodule: SegmentationData, run: RunFolder) -> None:
    """Refuse test cases whose files are cases that a run was trained or chosen on, whatever they are called.

    Raises:
        UserError: If there is one.
    """
    known = {entry.content: name for name, entry in read_split(run).items() if entry.subset != "test" and entry.content}
    for case, content in digests((datamodule.subsets or {})["test"]).items():
        if content in known:
            raise UserError(
                f"test case {case} is case {known[content]}, which {run.split} trained or chose its network on"
            )


def digests(cases: Iterable[Case]) -> dict[str, str]:
    """Case -> digest of its files' contents; empty for cases without files."""
    listed = list(cases)
    with ThreadPoolExecutor(8) as pool:
        return dict(zip([case.name for case in listed], pool.map(digest, listed), strict=True))


def digest(case: Case, files: Sequence[Path] | None = None) -> str:
    """Digest of the contents of all of a case's files, or of those given, 16 hexadecimal digits.

    Files of up to 16 MiB are read whole; of larger ones 16 blocks spread evenly, and the end, where a gzip file holds
    the checksum of all of it: a change inside a larger uncompressed file may go unseen.
    """
    if not case.files:
        return ""
    whole = hashlib.blake2b(str(case.page).encode(), digest_size=8)
    for path in (part for file in (case.files if files is None else files) for part in parts(file)):
        whole.update(_file_digest(path))
    return whole.hexdigest()


def _file_digest(path: Path) -> bytes:
    try:
        state = path.stat()
        return _digest_as_it_is(path, state.st_size, state.st_mtime_ns)
    except OSError:
        return b""  # what cannot be read is told when it is loaded


@lru_cache(100_000)
def _digest_as_it_is(path: Path, size: int, changed: int) -> bytes:
    """Digest of a file that many cases may share, as the pages of one TIFF do; read again once it has changed."""
    found = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for start in _starts(size):
            file.seek(start)
            found.update(file.read(BLOCK))
    return found.digest()


def _starts(size: int) -> Sequence[int]:
    if size <= BLOCK * BLOCKS:
        return range(0, size, BLOCK)
    return [*(size * number // BLOCKS for number in range(BLOCKS)), size - BLOCK]


def _another_split(run: RunFolder, asked: Mapping[str, Any]) -> bool:
    """Whether the data's arguments ask for another split than those that the run was trained with."""
    config = read_yaml(run.config) or {}
    before = (config.get("data") or {}).get("init_args") or {}
    return any(asked.get(name) != before.get(name) for name in CHOICES)


def _members(cases: Mapping[str, Case], law: Mapping[str, Entry], subset: str) -> list[Case]:
    return [cases[name] for name, entry in law.items() if entry.subset == subset and name in cases]


def _refuse_known(
    datamodule: SegmentationData, law: Mapping[str, Entry], run: RunFolder, parts: Collection[str]
) -> None:
    """Refuse a split of the user's that scores what the network was trained or chosen on, whatever its name now."""
    datamodule.setup()
    for part in parts:
        known = {name: entry for name, entry in law.items() if entry.subset in EARLIER[part]}
        twins = {entry.content: name for name, entry in known.items() if entry.content}
        for case, content in digests((datamodule.subsets or {}).get(part, ())).items():
            same = case in known and known[case].content in ("", content)
            twin = case if same else twins.get(content)
            if twin is not None:
                raise UserError(
                    f"{part} case {case} is case {twin} of the {law[twin].subset} part of {run.split}: what a network "
                    f"was trained or chosen on is not scored; without --data.split and the like the run's split is used"
                )


def _tell_changes(cases: Mapping[str, Case], law: Mapping[str, Entry], run: RunFolder, parts: Collection[str]) -> None:
    gone = [name for name in law if name not in cases]
    new = [name for name in cases if name not in law]
    used = {name for name, entry in law.items() if entry.subset in parts and entry.content and name in cases}
    now = digests(cases[name] for name in used)
    changed = [name for name in law if name in used and now[name] != law[name].content]
    for names, what in (
        (gone, "are not there any more"),
        (new, "are new and belong to no part of the split"),
        (changed, "have other contents than when the network was trained"),
    ):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            tell(f"{run.split}: {len(names)} cases {what} ({shown})")
