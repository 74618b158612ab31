"""The training verbs' help: what most people set on two screens, losses and networks by family, plain formulas."""

import contextlib
import inspect
import io
import re
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType

import losses
import models
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
FORMULA = re.compile(r":math:`([^`]*)`")
ROLE = re.compile(r":\w+:`~?([^`]*)`")
WORDS = {
    "gamma": "γ", "delta": "δ", "phi": "φ", "lambda": "λ", "alpha": "α", "beta": "β", "Sigma": "Σ", "sum": "Σ",
    "log": "log", "max": "max", "bar": "mean ",
    "odot": "*", "quad": " ", "le": "≤", "ge": "≥", "cdot": "·", "times": "x", "in": "∈",
    "rho": "ρ", "mu": "μ", "sigma": "σ", "epsilon": "ε", "exp": "exp", "min": "min", "pm": "±", "infty": "∞", "to": "→",
}  # fmt: skip


def short_help(verb: str, what: str) -> str:
    """The help of a training verb on at most two screens.

    Args:
        verb: The verb.
        what: What it does, in a line.
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
    if verb == "fit":
        lines += [*_names("losses", by_family(losses)), *_names("networks", {"": network_names()}), ""]
    lines += [f"  python -m lightning_app {verb} --help all      every option, Lightning's too"]
    if verb == "fit":
        lines += ["  python -m lightning_app fit --help losses   each loss in a line; also --help networks"]
    return "\n".join(lines) + "\n"


def room_help(room: str) -> str:
    """Our losses or networks, each in a line.

    Args:
        room: `losses` or `networks`.
    """
    package = losses if room == "losses" else models
    families = by_family(losses) if room == "losses" else {"": network_names()}
    lines = []
    for family, names in families.items():
        lines += ["", family] if family else []
        for name in names:
            text = plain((getattr(package, name).__doc__ or "").strip().partition("\n\n")[0])
            lines.append(f"  {name:<36} {' '.join(text.split())}")
    option = "--model.loss" if room == "losses" else "--model.net"
    example = f"{package.__name__}.{names[0]}"
    return "\n".join([*lines, "", f"Its options: python -m lightning_app fit {option}.help {example}", ""]).lstrip("\n")


def by_family(package: ModuleType) -> dict[str, list[str]]:
    """The losses by the file of their family, named by the file's first words."""
    families: dict[str, list[str]] = {}
    for name in package.__all__:
        kind = getattr(package, name)
        if inspect.isclass(kind) and not inspect.isabstract(kind) and name != "OverlapLoss":
            first = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0]
            families.setdefault(re.split(r"[:.;]", first)[0], []).append(name)
    return families


def network_names() -> list[str]:
    """Names of the networks."""
    kinds = ((name, getattr(models, name)) for name in models.__all__)
    return [n for n, kind in kinds if inspect.isclass(kind) and issubclass(kind, models.Network) and n != "Network"]


def _names(title: str, families: dict[str, list[str]]) -> list[str]:
    """Names by family, wrapped."""
    lines = [f"{title}:"]
    for family, names in families.items():
        text = f"{family}: {', '.join(names)}" if family else ", ".join(names)
        lines += textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return lines


def plain(text: str) -> str:
    """Formulas and names of reStructuredText as a terminal can show them."""
    text = FORMULA.sub(lambda found: _formula(" ".join(found[1].split())), text)
    return ROLE.sub(r"\1", text).replace("``", "")


def _formula(text: str) -> str:
    text = re.sub(r"\\(?:mathrm|text|mathbf|operatorname)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1) / (\2)", text)
    text = re.sub(r"\\[,;!: ]|\\(?:left|right)\b", " ", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: WORDS.get(found[1], found[1]), text)
    return " ".join(re.sub(r"\{([^{}]*)\}", r"(\1)", text).replace("\\", "").split())


@contextlib.contextmanager
def plain_output(args: list[str]) -> Iterator[None]:
    """Show the help of a class without raw formulas, where the arguments ask for one."""
    if not any(arg.partition("=")[0].endswith(".help") for arg in args):
        yield
        return
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            yield
    finally:
        sys.stdout.write(plain(out.getvalue()))
