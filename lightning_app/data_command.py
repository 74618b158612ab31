"""`python -m lightning_app data`: list the data sets, check a folder, fetch one, prepare volumes."""

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_app.files import write_csv

if TYPE_CHECKING:
    from datamodules import SegmentationData
    from datamodules.verify import CaseReport

_MAX_SHOWN = 30
_EPILOG = """examples:
  python -m lightning_app data list
  python -m lightning_app data show KiTS19
  python -m lightning_app data inspect /data/my_images
  python -m lightning_app data verify DRIVE --root /data/drive
  python -m lightning_app data verify Decathlon --root /data/decathlon --task Task09_Spleen --csv cases.csv
  python -m lightning_app data download Decathlon --root /data/decathlon --task Task04_Hippocampus
  python -m lightning_app data prepare KiTS19 --cache disk
"""


def main(args: list[str]) -> int:
    """Run the command.

    Args:
        args: Arguments after `data`.

    Returns:
        0, or 1 where `verify` found problems.

    Raises:
        DataError: If the data set is unknown or its folder cannot be used.
    """
    options, rest = build_parser().parse_known_args(args)
    if rest and options.verb in ("list", "table", "show"):
        raise ValueError(f"data {options.verb} takes no {rest[0]!r}")
    if options.verb == "list":
        return list_sets()
    if options.verb == "table":
        from datamodules.table import markdown_table

        return say(markdown_table().rstrip())
    if options.verb == "show":
        return show(find(options.name))
    if options.verb == "inspect" or (options.verb == "verify" and not rest and Path(options.name).is_dir()):
        return inspect_set(Path(options.name))
    data = build(find(options.name), rest)
    if options.verb == "verify":
        return verify_set(data, options.csv)
    return download(data) if options.verb == "download" else prepare(data)


def build_parser() -> argparse.ArgumentParser:
    """Parser of the verbs; the arguments of the data set itself are read by its class."""
    parser = argparse.ArgumentParser(
        prog="python -m lightning_app data",
        description="List the data sets, check a folder before hours are spent, fetch a data set, prepare volumes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    texts = {
        "list": "all data sets, and which are on this machine",
        "table": "the table of the documentation, in Markdown",
        "show": "what a data set is, its licence, its layout, where to get it, its arguments",
        "inspect": "look at a folder of your own and print the options to train on it",
        "verify": "read every case: files, shapes, labels, spacing, affine, duplicates",
        "download": "fetch a data set whose owner serves it openly, with its checksum",
        "prepare": "prepare all volumes into the cache before training",
    }
    for verb, text in texts.items():
        sub = verbs.add_parser(verb, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if verb in ("list", "table"):
            continue
        if verb == "inspect":
            sub.add_argument("name", metavar="folder", help="folder of images and masks, or of volumes")
            continue
        sub.add_argument("name", help="class name of the data set, as DRIVE")
        if verb == "verify":
            sub.add_argument("--csv", type=Path, help="write a row a case to this file")
        if verb != "show":
            sub.epilog = "Further arguments are those of the data set, as --root; `data show NAME` lists them."
    return parser


def say(text: str = "") -> int:
    """Write a line; returns 0 for convenience."""
    sys.stdout.write(f"{text}\n")
    return 0


def find(name: str) -> type["SegmentationData"]:
    """The class of that name, whatever its case.

    Raises:
        DataError: If there is none.
    """
    from datamodules import DataError
    from datamodules.table import all_sets

    known = {cls.__name__.lower(): cls for cls in all_sets()}
    try:
        return known[name.rpartition(".")[2].lower()]
    except KeyError:
        names = ", ".join(cls.__name__ for cls in known.values())
        raise DataError(f"data set {name!r} is unknown. Choose from {names}.") from None


def build(cls: type["SegmentationData"], args: list[str]) -> "SegmentationData":
    """The data set with arguments from the command line."""
    from jsonargparse import ArgumentError, ArgumentParser

    from datamodules import DataError

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, as_group=False)
    try:
        values = parser.parse_args(args)
    except ArgumentError as error:
        message = " ".join(str(error).split())
        raise DataError(f"{cls.__name__}: {message}. `data show {cls.__name__}` lists its arguments.") from error
    return cls(**values.as_dict())


def list_sets() -> int:
    """Print a row a data set."""
    from datamodules.table import all_sets, dimensions_of

    base = os.environ.get("SEGMENTATION_DATA")
    rows = [("name", "dim", "cases", "what", "on this machine")]
    for cls in all_sets():
        path = Path(base).expanduser() / cls.default_folder() if base else None
        rows.append(
            (
                cls.__name__,
                dimensions_of(cls),
                cls.info.cases[:34],
                cls.info.task[:56],
                str(path) if path and path.is_dir() else "-",
            )
        )
    print_table(rows)
    if base is None:
        say("\nSet SEGMENTATION_DATA to the folder that holds them to see which are here.")
    return 0


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print aligned columns; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            say("  ".join("-" * width for width in widths))


def show(cls: type["SegmentationData"]) -> int:
    """Print what a data set is, and its arguments."""
    from jsonargparse import ArgumentParser

    from datamodules.table import access_of, classes_of

    text = (inspect.getdoc(cls) or "").partition("\nArgs:")[0]
    say(f"{text.strip()}\n")
    info = cls.info
    facts = {"cases": info.cases, "size": info.size, "spacing": info.spacing, "classes": classes_of(cls)}
    facts |= {"licence": info.licence, "citation": info.citation, "get it": access_of(cls), "layout": info.layout}
    facts["folder"] = f"$SEGMENTATION_DATA/{cls.default_folder()}"
    for name, value in facts.items():
        say(f"  {name:<9} {value}")
    parser = ArgumentParser(prog=f"--data datamodules.{cls.__name__}", usage=argparse.SUPPRESS, add_help=False)
    parser.add_class_arguments(cls, as_group=False)
    say(f"\narguments (--data.NAME on the command line of fit, --NAME here):\n{parser.format_help().partition(':')[2]}")
    return 0


def inspect_set(root: Path) -> int:
    """Print what a folder holds, and the commands that check it and train on it; 1 where nothing fits."""
    from datamodules.inspection import inspect_folder

    found = inspect_folder(root)
    say(f"{root}\n")
    print_table([("fact", "found"), *found.facts])
    for hint in found.hints:
        say(f"\nnote: {hint}")
    if not found.data:
        return 1
    say("\ncheck it, then train on it:")
    say(f"  python -m lightning_app data verify {found.data} {found.arguments('--')}")
    say(f"  python -m lightning_app fit --data datamodules.{found.data} {found.arguments()}")
    return 0


def verify_set(data: "SegmentationData", table: Path | None) -> int:
    """Check a folder and print what was found."""
    from tqdm import tqdm

    from datamodules.verify import common_problems, remarks, summary, verify

    total = len(data.checked_cases())
    reports = list(tqdm(verify(data), total=total, unit="case", disable=not sys.stderr.isatty(), leave=False))
    name = type(data).__name__
    say(f"{name} in {data.root_path()}\n")
    problems = [problem for report in reports for problem in report.problems] + common_problems(data, reports)
    counts = [("images without a mask", str(len(data.unlabelled))), ("masks without an image", str(len(data.orphans)))]
    counts.append(("problems", str(len(problems))))
    regions = [("regions", data.regions.told(data.class_names))] if data.regions else []
    facts = [*summary(reports, tuple(data.class_names)), *regions, *counts, ("full set", data.info.cases)]
    print_table([("fact", "found"), *facts])
    for remark in remarks(data, reports):
        say(f"\nnote: {remark}")
    if problems:
        say("\nproblems:")
        for problem in problems[:_MAX_SHOWN]:
            say(f"  {problem}")
        if len(problems) > _MAX_SHOWN:
            say(f"  ... and {len(problems) - _MAX_SHOWN} more (--csv writes all)")
    else:
        say("\nno problem found")
    if table:
        write_reports(table, reports, data.class_names)
    return 1 if problems else 0


def write_reports(path: Path, reports: Sequence["CaseReport"], class_names: Sequence[str]) -> None:
    """Write a row a case."""
    rows = []
    for report in reports:
        shares = report.shares or ("",) * len(class_names)
        shape, spacing = ("x".join(f"{v:g}" for v in values) for values in (report.shape, report.spacing))
        named = {f"share {name}": share for name, share in zip(class_names, shares, strict=True)}
        row = {"case": report.case, "shape": shape, "spacing": spacing, **named, "ignored": report.ignored}
        rows.append({**row, "problems": "; ".join(report.problems)})
    write_csv(path, rows)


def download(data: "SegmentationData") -> int:
    """Fetch a data set.

    Raises:
        DataError: If its folder exists already, or it cannot be fetched.
    """
    from datamodules import DataError

    root = data.root_path()
    if root.exists():
        raise DataError(f"{root}: exists already. Remove it, or choose another --root.")
    data.fetch(root)
    return say(f"{type(data).__name__} is in {root}: {len(data.checked_cases())} cases")


def prepare(data: "SegmentationData") -> int:
    """Prepare all volumes of the split into the cache.

    Raises:
        DataError: If it is no 3D data set, or its volumes fit into memory and need no cache.
    """
    from tqdm import tqdm

    from datamodules import DataError, VolumeData
    from datamodules.cache import VolumeCache

    if not isinstance(data, VolumeData):
        raise DataError(f"{type(data).__name__}: only volumes are prepared. Images are decoded as they come.")
    data.setup()
    pipeline = data.make_pipeline()
    if not isinstance(pipeline.storage, VolumeCache):
        raise DataError(f"{type(data).__name__}: all volumes fit into memory. Set --cache disk to prepare them anyway.")
    cases = [case for members in (data.subsets or {}).values() for case in members]
    for case in tqdm(cases, unit="volume", disable=not sys.stderr.isatty()):
        pipeline.prepare(case)
    return say(f"{len(cases)} volumes are in {pipeline.storage.folder}")
