"""The help that a newcomer meets, and the short names of options."""

import inspect
import subprocess
import sys

import pytest
import yaml

import datamodules
import losses
import models
from lightning_app.arguments import SHORT, expand
from lightning_app.class_help import plain
from lightning_app.cli import OTHER_VERBS, TRAINING_VERBS, main
from lightning_app.shipped import CONFIGS
from tests.lightning_app.small import SMALL

HELPS = """
import sys
from lightning_app.cli import main

for words in sys.stdin.read().splitlines():
    try:
        main([*words.split(), "--help"])
    except SystemExit as end:
        assert not end.code, words
    heavy = {"torch", "lightning", "monai", "matplotlib", "scipy", "numpy"} & set(sys.modules)
    assert not heavy, f"{words} --help imports {heavy}"
"""
pytestmark = pytest.mark.usefixtures("unpainted")


def shown(capsys, *args: str) -> str:
    main(list(args))
    return capsys.readouterr().out


def test_help_waits_for_nothing_that_is_heavy():
    named = ["", *(verb for verb in TRAINING_VERBS if verb != "fit"), *OTHER_VERBS]  # that of fit names our losses
    words = [*named, "calibrate --probs maps", "data inspect", "data show"]
    done = subprocess.run([sys.executable, "-c", HELPS], input="\n".join(words), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(words)


@pytest.mark.parametrize("verb", TRAINING_VERBS)
def test_the_help_of_a_verb_fits_two_screens(capsys, verb):
    lines = shown(capsys, verb, "--help").splitlines()
    assert len(lines) <= 2 * 32
    assert max(len(line) for line in lines) <= 100
    assert TRAINING_VERBS[verb][1:] in lines[2]


def test_defaults_in_the_help_are_those_of_the_configuration(capsys):
    text = shown(capsys, "fit", "-h")
    base = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    assert f"--max_epochs {base['trainer']['max_epochs']} " in text
    assert f"--lr {base['optimizer']['init_args']['lr']} " in text
    assert f"--model.loss {base['model']['loss']['class_path']} " in text
    assert f"--devices {base['trainer']['devices']} " in text
    phantom = yaml.safe_load((CONFIGS / "phantom.yaml").read_text())["data"]["class_path"].rpartition(".")[2]
    batch = inspect.signature(getattr(datamodules, phantom)).parameters["batch_size"].default
    assert f"--batch_size {batch} " in text


def test_every_loss_and_network_has_a_line_without_raw_formulas(capsys):
    text = shown(capsys, "fit", "--help", "losses")
    names = [
        name for name in losses.__all__ if name.endswith("Loss") and name not in ("OverlapLoss", "SegmentationLoss")
    ]
    assert all(text.count(f"  {name} ") == 1 for name in names)
    networks = shown(capsys, "fit", "--help", "networks")
    assert all(f"  {name} " in networks for name in ("UNet", "NNUNet", "SMP", "MONAI"))
    assert all(hasattr(models, line.split()[0]) for line in networks.splitlines() if line.startswith("  "))
    for mark in (":math:", "\\", "``", ":class:"):
        assert mark not in text + networks


def test_the_help_of_a_loss_has_no_raw_formulas(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--model.loss.help", "losses.TverskyLoss"])
    text = capsys.readouterr().out
    assert "Tversky loss, 1 - (T + s) / (T + δ N + φ P + s)" in text
    assert "--model.loss.fn_weight" in text


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (r":math:`\frac{a}{b} + \gamma_k`", "(a) / (b) + γ_k"),
        (r":math:`(1 - p)^{1 - g}` and ``clip``", "(1 - p)^(1 - g) and clip"),
        (r":class:`~losses.DiceLoss` of :math:`\mathrm{softmax}(z/T)`", "losses.DiceLoss of softmax(z/T)"),
    ],
)
def test_formulas_in_a_terminal(raw, expected):
    assert plain(raw) == expected


@pytest.mark.parametrize(("short", "long"), SHORT.items())
def test_short_names_of_options(short, long):
    assert expand(["fit", f"{short}=3"])[-1] == f"{long}=3"
    assert expand(["fit", short, "3"])[-2:] == [long, "3"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("--trainer.max_ep=2", "--trainer.max_epochs"), ("--run_nam=a", "--run_name"), ("--max_epoch=2", "--max_epochs")],
)
def test_a_part_of_an_options_name_is_no_option(capsys, given, meant):
    with pytest.raises(SystemExit) as stop:
        main(["fit", given])
    assert stop.value.code == 2
    assert f"there is no option {given.partition('=')[0]}; did you mean" in (error := capsys.readouterr().err)
    assert meant in error


@pytest.mark.parametrize(("limit", "batches"), [("1", 1), ("1.0", 2), ("0.5", 1)])
def test_one_is_a_batch_and_one_point_zero_all(tmp_path, limit, batches):
    options = [f"--runs_dir={tmp_path}", "--trainer.logger=false", "--max_epochs=1", "--data.batch_size=2"]
    limits = [f"--trainer.limit_train_batches={limit}", "--trainer.limit_val_batches=0"]
    cli = main(["fit", *SMALL, *options, *limits])
    assert cli.trainer.global_step == batches
