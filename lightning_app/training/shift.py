"""Test cases of another kind than those trained on: of another data set, or damaged."""

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import DummyLogger

from datamodules import Corruption, ImageData, SegmentationData, VolumeData
from lightning_app.errors import UserError
from lightning_app.files import read_yaml
from lightning_app.shipped import find_config
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.split import refuse_known

OWN = {
    "root", "split", "split_sizes", "fold", "num_folds", "predict_root", "download", "follow_links", "regions",
    "regions_class_order",
}  # fmt: skip


def stage_name(data: str | None, corrupt: str | None) -> str:
    """Name of the folder that such a test writes to: `test_stare`, `test_noise3`, `test_stare_noise3`; else `test`."""
    words = [Path(data.removesuffix(".yaml")).name.rpartition(".")[2].lower()] if data else []
    return "_".join(["test", *words, *([corrupt.replace(":", "")] if corrupt else [])])


def shifted(
    own: SegmentationData, checkpoint: str, data: str | None, root: str | None, corrupt: str | None, seed: int | None
) -> SegmentationData:
    """The run's data, or another set in their place, with the test images damaged where asked.

    Args:
        own: The run's data.
        checkpoint: The checkpoint that is tested.
        data: Another data set, as in `foreign_data`.
        root: Its folder.
        corrupt: Damage, as `noise:3`.
        seed: Seed of the damage.
    """
    found = foreign_data(data, root, own, checkpoint) if data else own
    found.corruption = Corruption.of(corrupt, seed or 0) if corrupt else None
    return found


@contextmanager
def elsewhere(trainer: Trainer, run: RunFolder, data: str | None, corrupt: str | None) -> Iterator[None]:
    """While it lasts, a test writes to a folder of its own, and loggers keep the numbers of the run's own test."""
    loggers, trainer.loggers = trainer.loggers, [DummyLogger() for _ in trainer.loggers]
    run.tested = stage_name(data, corrupt)
    try:
        yield
    finally:
        trainer.loggers, run.tested = loggers, "test"


def foreign_data(given: str, root: str | None, own: SegmentationData, checkpoint: str) -> SegmentationData:
    """Another data set, read by its own reader and prepared as the run's; every case of it is a test case.

    Args:
        given: A data fragment that comes with the program (`stare`), a YAML file of one, or a class.
        root: Its folder; by default that of the fragment or the class.
        own: The run's data.
        checkpoint: The checkpoint, which holds what the run's data found out about themselves.

    Raises:
        UserError: If its classes, channels or dimensions are others, or a file is one that the run was trained or
            chosen on.
    """
    data = _build(given, root)
    _check(given, data, own)
    for base in (SegmentationData, ImageData, VolumeData):
        for name in set(inspect.signature(base.__init__).parameters) - OWN:
            if isinstance(own, base) and hasattr(own, name):
                setattr(data, name, getattr(own, name))
    data.wanted_regions, data.wanted_order = own.wanted_regions, own.wanted_order
    state = torch.load(checkpoint, map_location="cpu", weights_only=False).get(type(own).__qualname__)
    if state:
        data.load_state_dict(state)
    cases = data.checked_cases()
    data.use_split({"train": [], "val": [], "test": cases})
    run = RunFolder.of_checkpoint(checkpoint)
    if run is not None:
        refuse_known(data, run)
    data.check_labels(training=False)
    return data


def _build(given: str, root: str | None) -> SegmentationData:
    content: dict[str, Any] = {"class_path": given}
    if not given.startswith("datamodules.") or given.endswith(".yaml"):
        content = read_yaml(find_config(given if given.endswith(".yaml") else f"data/{given}"))["data"]
    module, _, name = content["class_path"].rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"--test_data {given}: there is no data set {content['class_path']}") from error
    options = content.get("init_args") or {}
    return cls(**options | ({"root": root} if root else {}))


def _check(given: str, data: SegmentationData, own: SegmentationData) -> None:
    for what in ("class_names", "in_channels", "spatial_dims"):
        theirs, ours = getattr(data, what), getattr(own, what)
        same = tuple(theirs) == tuple(ours) if what == "class_names" else theirs == ours
        if not same:
            raise UserError(
                f"--test_data {given}: its {what.replace('_', ' ')} are {theirs}, not the run's, {ours}; "
                "only data that agree can be scored"
            )
