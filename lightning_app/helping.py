"""The training verbs' help: what most people set, on two screens."""

import textwrap
from collections.abc import Mapping, Sequence

from lightning_app.files import read_yaml
from lightning_app.shipped import CONFIGS

WIDTH = 100
BATCH = 8  # of datamodules.Phantom; to ask it would take the seconds of importing Lightning
EVERYWHERE = (
    ("--config NAME", "recipe: hippocampus, drive, dsb2018, phantom, data/<set>, or a YAML file of yours"),
    ("--data datamodules.NAME", "data set; `data list` shows them, `data show NAME` their options, as --data.root"),
    ("--data.root FOLDER", "its folder; $SEGMENTATION_DATA/<set> where left out"),
    ("--ckpt_path RUN", "run folder or checkpoint, or best / last of the newest run"),
    ("--devices 1", "how many GPUs or processes; [0,2] takes these"),
    ("--precision 32-true", "or bf16-mixed, 16-mixed, 64-true"),
    ("--runs_dir runs", "folder that run folders are made in"),
)
OF_FIT = (
    ("--model.net models.UNet", "network, its options as --model.net.width; `fit --help networks` tells of each"),
    ("--model.loss losses.DicePlusPlusLoss", "loss, its options as --model.loss.gamma; `fit --help losses`"),
    ("--max_epochs {epochs}", "epochs of training (recipes set their own)"),
    ("--batch_size {batch}", "images or patches in a training batch"),
    ("--lr {lr:g}", "learning rate; --optimizer torch.optim.SGD takes another optimizer"),
    ("--lr_scheduler NAME", "schedule, as torch.optim.lr_scheduler.OneCycleLR"),
    ("--seed 0", "seed of weights and steps; --data.seed of split and augmentation"),
    ("--trainer.check_val_every_n_epoch 1", "epochs between two validations"),
    ("--resume RUN", "go on with a run from its last epoch"),
    ("--weights_from RUN", "take the weights alone of another run"),
    ("--run_name NAME", "name of the run folder; time and a random part where left out"),
    ("--test_after false", "after training, evaluate the test cases too"),
)
SURFACE = ("--surface false", "evaluate surface distances too (HD95, ASSD, NSD, in mm)")
OBJECTS = ("--objects false", "evaluate connected components too, matched at --object_iou 0.5")
OF_VERB = {
    "fit": OF_FIT,
    "validate": (SURFACE, OBJECTS),
    "test": (
        SURFACE,
        OBJECTS,
        ("--test_data NAME", "test on another data set (stare, kvasir_seg, ph2); results in test_NAME"),
        ("--corrupt KIND:LEVEL", "damage the images: noise, blur, contrast, resolution, bias_field; 1 to 5"),
        ("--threshold argmax", "or calibrated, the cuts that calibrate found, or a cut a class, as [0.5,0.3]"),
    ),
    "predict": (
        ("--data.predict_root FOLDER", "folder of new images; the test cases where left out"),
        ("--output FOLDER", "folder to write to; one of the run's where left out"),
        ("--threshold argmax", "or calibrated, the cuts that calibrate found, or a cut a class, as [0.5,0.3]"),
    ),
    "calibrate": (("--method temperature", "how; a name that is none lists what there is"),),
    "export": (("--output FILE", "the ONNX file; beside the checkpoint where left out"),),
}


def short_help(verb: str, what: str, choices: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """The help of a training verb on at most two screens.

    Args:
        verb: The verb.
        what: What it does, in a line.
        choices: Title to family to the names of classes to choose from; `fit` alone shows them.
    """
    base = read_yaml(CONFIGS / "default.yaml")
    values = {
        "epochs": base["trainer"]["max_epochs"],
        "lr": base["optimizer"]["init_args"]["lr"],
        "batch": BATCH,
    }
    rows = [*EVERYWHERE, *OF_VERB[verb]]
    lines = [f"usage: python -m lightning_app {verb} [OPTIONS]", "", f"{what[0].upper()}{what[1:]}.", ""]
    for option, text in rows:
        lines += textwrap.wrap(
            f"{option.format(**values):<38} {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 41
        )
    lines += ["", "What stands behind an option is its default; capitals stand for a value of yours.", ""]
    lines += [line for title, families in choices.items() for line in _names(title, families)]
    lines += [""] if choices else []
    lines += [f"  python -m lightning_app {verb} --help all      every option, Lightning's too"]
    if verb == "fit":
        lines += ["  python -m lightning_app fit --help losses   each loss in a line; also --help networks"]
    return "\n".join(lines) + "\n"


def _names(title: str, families: Mapping[str, Sequence[str]]) -> list[str]:
    """Names by family, wrapped."""
    lines = [f"{title}:"]
    for family, names in families.items():
        text = f"{family}: {', '.join(names)}" if family else ", ".join(names)
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines
