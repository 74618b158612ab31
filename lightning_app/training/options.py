"""The program's own options beside those of trainer, network, loss and data, and what of them does not go together."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jsonargparse.typing import register_type
from lightning.pytorch.cli import LightningArgumentParser

from lightning_app.errors import UserError
from lightning_app.training.checkpoint import BestCheckpoint
from lightning_app.training.figures import LogMedia
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.steps import Interval

#: Name, type, default and help of each option.
OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("runs_dir", str, "runs", "Folder that run folders are made in."),
    ("run_name", str | None, None, "Name of the run folder; time and a random part if unset."),
    ("resume", str | None, None, "Run folder to go on with, from its last epoch (fit only)."),
    (
        "weights_from",
        str | None,
        None,
        "Checkpoint or run folder whose weights alone a new training starts from (fit only).",
    ),
    (
        "lr_interval",
        Interval,
        "auto",
        "Whether the schedule counts epochs or steps; auto: steps for OneCycleLR and CyclicLR.",
    ),
    ("test_after", bool, False, "After fit, evaluate the test cases too."),
    ("log_media", LogMedia, "best", "Which validations' pictures go to the loggers."),
    ("surface", bool, False, "Evaluate surface distances too (HD95, ASSD, NSD, in mm)."),
    ("objects", bool, False, "Evaluate objects too: connected components, matched by IoU."),
    ("object_iou", float, 0.5, "Least IoU at which objects match."),
    (
        "object_connectivity",
        int | None,
        None,
        "What joins voxels to an object: 1 faces, 2 edges, 3 corners; by default 1 in 2D, 3 in 3D.",
    ),
    (
        "test_data",
        str | None,
        None,
        "Test on all cases of another data set, prepared as the run's: a fragment (stare), a YAML file or a "
        "class; results go to test_<name> (test; fit tests so too).",
    ),
    ("test_root", str | None, None, "Folder of --test_data."),
    (
        "corrupt",
        str | None,
        None,
        "Damage the test images: noise, blur, contrast, resolution or bias_field, a colon and 1 to 5, as noise:3; "
        "results go to test_noise3 (test; fit tests so too).",
    ),
    ("score_workers", int, 0, "Processes that score cases while the next one is predicted."),
    (
        "threshold",
        Literal["argmax", "calibrated", "risk"] | list[float],
        "argmax",
        "How predict and test make masks: the largest probability, the cuts that calibrate found (calibrated: "
        "best Dice; predict alone risk: --method risk), or a cut a class.",
    ),
    (
        "output",
        str | None,
        None,
        "Folder that predict writes to, by default one of the run's; file that export writes.",
    ),
)


def _tensor(numbers: list[float]) -> torch.Tensor:
    """Tensor of the numbers of an argument that a foreign class wants as one, such as the weights of torch's losses."""
    return torch.as_tensor(numbers, dtype=torch.float32)


register_type(torch.Tensor, torch.Tensor.tolist, _tensor, fail_already_registered=False)


def add_options(parser: LightningArgumentParser, channels: Callable[..., int]) -> None:
    """Add the options, and the links from the data to the network.

    Args:
        parser: The parser of a verb.
        channels: Output channels of the network for a number of classes and regions of them.
    """
    for name, kind, default, text in OPTIONS:
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
    parser.set_defaults({"checkpoint.auto_insert_metric_name": False, "checkpoint.enable_version_counter": False})
    for name in ("in_channels", "spatial_dims"):
        parser.link_arguments(f"data.{name}", f"model.net.init_args.{name}", apply_on="instantiate")
    parser.link_arguments(
        ("data.num_classes", "data.regions"),
        "model.net.init_args.num_classes",
        compute_fn=channels,
        apply_on="instantiate",
    )
    parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
    parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")
    parser.link_arguments("data.regions", "model.regions", apply_on="instantiate")
    parser.link_arguments("data.padding", "model.padding", apply_on="instantiate")


def check_options(verb: str, config: Any) -> None:
    """Refuse, before anything is built, what cannot work.

    Raises:
        UserError: If there is no such GPU, or no checkpoint for a verb that needs one.
    """
    _check_device(config)
    for name in ("test_data", "corrupt"):
        if config.get(name) and verb not in ("fit", "test"):
            raise UserError(f"--{name} {config[name]} goes with test and fit: {verb} uses the run's own cases")
    _check_threshold(verb, config)
    if verb != "fit" and not config.get("ckpt_path"):
        newest = RunFolder.newest(config.runs_dir)
        run = f"the newest run is --ckpt_path {newest}" if newest else f"there is no run in {config.runs_dir}/"
        raise UserError(
            f"{verb} needs --ckpt_path, its network is untrained without: a checkpoint, a run folder, or best or last "
            f"of the newest run; {run}"
        )


def _check_threshold(verb: str, config: Any) -> None:
    """Refuse cuts where nothing would be cut by them."""
    threshold = config.get("threshold", "argmax")
    if threshold == "argmax" or verb == "predict":
        return
    if verb != "test":
        raise UserError(f"--threshold {threshold} goes with predict and test, not with {verb}")
    if threshold == "risk":
        raise UserError(
            "--threshold risk: predict writes its masks; test holds the promise against the cases by itself"
        )


def _check_device(config: Any) -> None:
    """Say in words that a GPU was asked for and is not there."""
    if config.trainer.accelerator in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise UserError(
            f"--trainer.accelerator {config.trainer.accelerator}: no GPU is visible to torch {torch.__version__}; "
            f"use --trainer.accelerator cpu, or check the driver and CUDA_VISIBLE_DEVICES"
        )
