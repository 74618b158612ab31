"""Whether the program takes what a sweep file gives it, found before the first run and not by each of them."""

from argparse import ArgumentError
from collections.abc import Iterable
from typing import Any

from lightning_app.cli import TRAINING_VERBS
from lightning_app.errors import UserError
from lightning_app.sweep.file import Cell, SweepFile, command_line

PROGRAM = ["-m", "lightning_app"]


def check_commands(sweep: SweepFile, cells: Iterable[Cell]) -> None:
    """Parse the commands of a few cells that hold every value, where they call this program to train.

    Args:
        sweep: The sweep file.
        cells: Its cells.

    Raises:
        UserError: The parser refuses one; the message is the parser's, behind the file's name.
    """
    for cell in covering(cells):
        words = command_line(sweep.config, cell)
        found = [place for place in range(len(words)) if words[place : place + 2] == PROGRAM]
        arguments = words[found[0] + 2 :] if found else []
        if not arguments or arguments[0] not in TRAINING_VERBS:
            return
        problem = refused(arguments)
        if problem:
            raise UserError(f"{sweep.path}: {problem}")


def covering(cells: Iterable[Cell], seen: set[tuple[str, str]] | None = None) -> list[Cell]:
    """The first cell, and each that holds a value which none before it had.

    Args:
        cells: The cells.
        seen: Parameters and values that were there before; those of the cells are added.
    """
    chosen: list[Cell] = []
    seen = set() if seen is None else seen
    for cell in cells:
        values = {(name, repr(value)) for name, value in cell.items()}
        if values - seen or not chosen:
            chosen.append(cell)
            seen |= values
    return chosen


def refused(arguments: list[str]) -> str:
    """The parser's complaint of a command line, in words; nothing where it takes it.

    Args:
        arguments: A verb of training and its options.
    """
    from lightning.pytorch.cli import LightningArgumentParser

    from lightning_app.training.program import TrainingCLI
    from lightning_app.wording import in_words

    class Parsed(Exception):
        """Ends the program before anything is set or built."""

    class Parser(TrainingCLI):
        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            super().parse_arguments(parser, args)
            raise Parsed

    try:
        Parser(arguments)
    except Parsed:
        return ""
    except (ValueError, OSError, ArgumentError) as error:
        return in_words(str(error))
    return ""
