"""Whether the program that a command calls takes it: its own parser reads the words, and the files it names exist."""

import argparse
import itertools
import re
import runpy
import sys
import tomllib
from collections.abc import Callable

import pytest

import losses
from lightning_app.cli import TRAINING_VERBS, main
from lightning_app.data_command import build, build_parser, find
from lightning_app.shipped import HOME, find_sweep
from lightning_app.sweep.check import refused
from tests.documentation.pages import Command, in_shell

OURS = re.compile(r"(docs|sweeps|benchmarks|tests|lightning_app/configs)/[\w./-]+|constraints\.txt")
OF_RUNS = ("--resume", "--weights_from")  # a sentence may leave the run out
EXTERNAL = ("xdg-open",)  # takes a file that the page's command before it has written


class Parsed(BaseException):
    """Ends a program once its parser has read the words."""

    def __init__(self, parser: argparse.ArgumentParser, options: argparse.Namespace | None) -> None:
        super().__init__()
        self.parser, self.options = parser, options


def read_by(program: Callable[[], object], words: tuple[str, ...], whole: bool) -> argparse.Namespace | None:
    """What a program's argparse makes of the words; of a part of a command, whether it knows the options."""
    read = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, args=None, namespace=None):
        if not whole:
            raise Parsed(self, None)
        options, rest = read(self, args, namespace)
        assert not rest or rest[0].startswith("--options."), f"{rest} is unknown"  # a calibrator's own
        raise Parsed(self, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        patch.setattr(sys, "argv", list(words))
        with pytest.raises(Parsed) as end:
            program()
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert whole or given <= set(end.value.parser._option_string_actions)
    return end.value.options


def understand(command: Command) -> None:
    """Fail where no program takes a command."""
    missing = [word for word in command.words if OURS.fullmatch(word) and not (HOME / word).exists()]
    assert not missing, f"{missing} is not there"
    PROGRAMS[command.words[0]](command)


def of_python(command: Command) -> None:
    """`python -m MODULE ...`."""
    if command.words[1].endswith(".py"):
        return  # a script that a command before it writes
    if command.words[1:3] == ("-m", "lightning_app"):
        of_ours(command.words[3:], command.whole)
    elif command.words[1:3] == ("-m", "venv"):
        in_the_build(command)
    else:
        path = HOME / f"{command.words[2].replace('.', '/')}.py"
        read_by(lambda: runpy.run_path(str(path), run_name="__main__"), command.words[2:], command.whole)


def of_ours(words: tuple[str, ...], whole: bool) -> None:
    """Arguments of this program: `fit` builds what they name, of other verbs they are read."""
    if not words:
        return
    verb = words[0]
    if verb == "nnunet-path":
        main(list(words))
    elif verb == "data":
        of_data(words[1:])
    elif verb not in TRAINING_VERBS or "--probs" in words:
        options = read_by(lambda: main(list(words)), words, whole)
        if verb == "sweep" and whole and not options.file.startswith("runs/"):  # tests/sweeps/test_files.py reads each
            assert find_sweep(options.file).is_file()
    elif verb == "fit" and whole and "--resume" not in words:
        builds(list(words))
    else:
        run = ["runs/a"] if words[-1] in OF_RUNS else []
        of_checkpoint = verb != "fit" and "--ckpt_path" not in words
        problem = refused([*words, *run, *(["--ckpt_path", "runs/a"] if of_checkpoint else [])])
        assert not problem, problem


def builds(words: list[str]) -> None:
    """Parse a training's options and build data, network, loss and trainer."""
    try:
        main(words, run=False)
    except SystemExit as end:  # help ends so
        if end.code:
            raise


def of_data(words: tuple[str, ...]) -> None:
    """`data VERB NAME`, and the arguments of the data set, which its class reads."""
    options, rest = build_parser().parse_known_args([word for word in words if word != words[-1] or word[0] != "-"])
    if "name" in options and options.verb != "inspect":
        kind = find(options.name)
        assert build(kind, rest) if rest else kind


def of_calseg(command: Command) -> None:
    """The installed script."""
    of_ours(command.words[1:], command.whole)


def of_torchrun(command: Command) -> None:
    """torch's own parser, then ours."""
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(command.words[1:])
    assert options.module
    assert options.training_script == "lightning_app"
    of_ours(tuple(options.training_script_args), True)


def of_slurm(command: Command) -> None:
    """What Slurm starts."""
    if "--wrap" in command.words:
        started = in_shell(command.words[command.words.index("--wrap") + 1])
    else:
        started = [command.words[command.words.index("python") :]]
    for words in started:
        understand(Command(command.page, words))


def of_wandb(command: Command) -> None:
    """W&B's own parser."""
    from wandb.cli.cli import cli

    verb = cli.commands[command.words[1]]
    if command.whole:
        verb.make_context(verb.name, list(command.words[2:]))
    known = {option for parameter in verb.params for option in parameter.opts}
    assert {word for word in command.words if word.startswith("--")} <= known


def of_pip(command: Command) -> None:
    """pip's own parser; extras of this project are those of pyproject.toml."""
    from pip._internal.commands import create_command

    options, asked = create_command(command.words[1]).parse_args(list(command.words[2:]))
    assert asked or options.editables
    known = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    extras = re.findall(r"(?:\.|calibrated-segmentation)\[(\w+)\]", " ".join(command.words))
    assert set(extras) <= set(known)


def of_nnunet(command: Command) -> None:
    """nnU-Net is not installed here; a trainer that is named is that of a loss of ours."""
    for option, name in itertools.pairwise(command.words):
        assert option != "-tr" or f"{name.removeprefix('nnUNetTrainer')}Loss" in losses.__all__


def in_the_build(command: Command) -> None:
    """A line of `.ci/run`, or of the README's blocks that it runs, has all words of the command."""
    script = "\n".join((HOME / name).read_text(encoding="utf-8") for name in (".ci/run", "README.md"))
    lines = [set(re.split(r"[ &]+", line)) for line in script.splitlines()]
    assert any(set(command.words) - {".venv"} <= line for line in lines)


PROGRAMS: dict[str, Callable[[Command], None]] = {
    "python": of_python,
    "python3": of_python,
    "calseg": of_calseg,
    "torchrun": of_torchrun,
    "srun": of_slurm,
    "sbatch": of_slurm,
    "wandb": of_wandb,
    "pip": of_pip,
    **dict.fromkeys(("pytest", "ruff", "mypy"), in_the_build),
    **dict.fromkeys(("nnUNetv2_train", "nnUNetv2_predict", "nnUNetv2_ensemble"), of_nnunet),
    **dict.fromkeys(EXTERNAL, lambda command: None),
}
