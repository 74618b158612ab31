"""Every command of README, CONTRIBUTING, docs, sweeps and recipes is run, or else read by the program that it calls.

Each is read by the parser of the program that it calls, and the files that it names exist (`understanding.py`); `fit`
builds its network, loss and data too. `pytest -m tutorial` runs the commands of this program as they are written, on
stand-ins that lie where they look (`stand_ins.py`), trainings for a step; but for sweeps, dashboards, benchmarks and
`ONLY_READ`. Pages of docs/tutorials are run from their first line to their last by `test_tutorials.py`.
"""

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_app.cli import main
from lightning_app.shipped import HOME
from tests.documentation.pages import (
    HEADED,
    KINDS,
    PAGES,
    TUTORIALS,
    Command,
    blocks,
    commands,
    environment,
    in_shell,
    prose,
)
from tests.documentation.stand_ins import MEANT, TINY, make_data, make_maps, make_runs
from tests.documentation.understanding import understand

TRAINED = ("fit",)
RUN = {*TRAINED, "test", "predict", "calibrate", "export", "evaluate", "apply", "report", "data"}
ONLY_READ = {  # of these verbs, what is not run, and why
    "--config lightning_app/configs/paper": "the whole published set, at the paper's size, for hours",
    "--config lightning_app/configs/hippocampus.yaml": "130 volumes",
    "--config hippocampus": "the same",
    "strategy ddp": "several processes; docs/tutorials/several_gpus.md runs them",
    "data download": "the network",
    "data prepare": "the whole set",
}
PROGRAM = ("python", "-m", "lightning_app")
pytestmark = [
    pytest.mark.usefixtures("unpainted"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def stage(request, tmp_path_factory) -> Path:
    """The folder of stand-ins; its runs have learnt something where commands are run on them, and not only read."""
    root = tmp_path_factory.mktemp("stage")
    make_data(root)
    make_maps(root)
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMENTATION_DATA", "data")
        make_runs(root, learnt=any(item.get_closest_marker("tutorial") for item in request.session.items))
    return root


@pytest.fixture
def here(stage, monkeypatch) -> None:
    """Among the stand-ins, for commands that are only read."""
    monkeypatch.chdir(stage)
    monkeypatch.setenv("SEGMENTATION_DATA", "data")
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def apart(stage, here, tmp_path, monkeypatch) -> None:
    """In a copy of the stand-ins, for commands that are run."""
    shutil.copytree(stage, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


def meant(path: Path) -> list[Command]:
    """A page's commands, with what stands here for the reader's own."""
    found = commands(path)
    return [Command(c.page, tuple(MEANT.get(word, word) for word in c.words if word != "..."), c.whole) for c in found]


def is_run(command: Command) -> bool:
    """Whether the suite runs it: a whole command of this program."""
    words = command.words
    ours = words[:3] == PROGRAM and words[3:4] and words[3] in RUN
    return bool(command.whole and ours and not any(part in " ".join(words) for part in ONLY_READ))


def lay_runs(words: tuple[str, ...]) -> None:
    """Put two runs where a report looks for some."""
    for word in words:
        if word.startswith("runs/") and not Path(word).exists():
            for name in "ab":
                shutil.copytree(f"runs/{name}", f"{word}/{name}")


def give(words: tuple[str, ...]) -> None:
    """Run a command of this program, a training for one step."""
    as_it_is = "--resume" in words or any(word.endswith(".help") for word in words)
    tiny = TINY if words[0] in TRAINED and not as_it_is else ()
    try:
        main([*words, *tiny])
    except SystemExit as end:
        if end.code:
            raise


def carry_out(command: Command) -> None:
    """Run a command that the suite runs."""
    words = command.words
    if words[0] == "python" and words[1].endswith(".py"):
        subprocess.run([sys.executable, *words[1:]], check=True, env=environment(), timeout=120)
    elif is_run(command):
        if words[3] == "report":
            lay_runs(words)
        give(words[3:])


def each(found: list[Command], do: Callable[[Command], None], capfd: pytest.CaptureFixture[str]) -> None:
    """Do something with every command; a failure names the command and what it wrote."""
    for command in found:
        try:
            do(command)
        except BaseException as error:
            pytest.fail(f"{command}\n{type(error).__name__}: {error}\n{capfd.readouterr().err[-2000:]}")


def name(path: Path) -> str:
    return path.relative_to(HOME).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_each_command_of_a_page_is_taken_by_the_program_that_it_calls(path, here, capfd):
    each(meant(path), understand, capfd)


def test_each_command_of_a_header_is_taken_by_the_program_that_it_calls(here, capfd):
    each([command for path in HEADED for command in meant(path)], understand, capfd)


@pytest.mark.tutorial
@pytest.mark.parametrize("path", PAGES, ids=name)
def test_the_commands_of_a_page_run_as_they_are_written(path, apart, capfd):
    each(meant(path), carry_out, capfd)


@pytest.mark.tutorial
def test_the_commands_of_headers_run_as_they_are_written(apart, capfd):
    fits = [command for path in HEADED for command in meant(path) if command.words[3:4] == ("fit",)]
    assert len(fits) > 5
    each(fits, carry_out, capfd)


@pytest.mark.parametrize("path", [*PAGES, *TUTORIALS], ids=name)
def test_code_stands_in_blocks_that_say_their_kind(path):
    assert {kind for kind, _ in blocks(path)} <= KINDS
    assert not re.search(r"(?<=\n\n) {4,}\S", prose(path)), "an indented block: nobody knows what it is"


WRONG = [
    "python -m lightning_app fit --model.loss losses.DiceLos",
    "python -m lightning_app fit --model.loss.gama 2",
    "python -m lightning_app fit --config hippocamp",
    "python -m lightning_app calibrate --ckpt_path runs/a --method temprature",
    "python -m lightning_app evaluate --probs PROBS --label LABELS",
    "python -m lightning_app sweep sweeps/bench_a_fantom.yaml",
    "python -m lightning_app data verify DRIVES",
    "python -m lightning_app data prepare KiTS19 --cash disk",
    "python -m benchmarks.results",
    "python -m benchmarks.result docs/results/gamma.md",
    "python -m benchmarks.results docs/results/gama.md",
    "torchrun --nodes 2 -m lightning_app fit",
    "sbatch --wrap 'python -m lightning_app sweep sweeps/none.yaml'",
    "srun --nodes 2 python -m lightning_app fits",
    "wandb sweep --projects mine sweeps/bench_a_phantom.yaml",
    "pip install -e '.[tests]'",
    "pytest -n 3",
    "nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerDicePlus",
    "conda install calibrated-segmentation",
]


@pytest.mark.parametrize("text", WRONG)
def test_a_command_that_its_program_would_refuse_fails(text, here):
    (words,) = in_shell(text)
    with pytest.raises((Exception, SystemExit, pytest.fail.Exception)):
        understand(Command("a page", words))


def test_a_shell_reads_the_blocks():
    text = "export A='b c'\nfor s in 1 2; do python $s \"$A\" \\\n  --x && wandb sync $s; done  # twice"
    run = [("python", s, "b c", "--x") for s in "12"]
    assert in_shell(text) == [run[0], ("wandb", "sync", "1"), run[1], ("wandb", "sync", "2")]
