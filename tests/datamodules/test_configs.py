"""Every data fragment of the program builds its data set."""

from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

import datamodules
from datamodules.table import all_sets

FOLDER = Path(__file__).parents[2] / "lightning_app" / "configs" / "data"
FRAGMENTS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.stem)
def test_fragment_builds_its_data_set(path, tmp_path):
    from tests.data.nnunet_raw.make import make

    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    if path.stem == "nnunet_raw":
        values["data"]["init_args"]["root"] = str(make(tmp_path))
    data = parser.instantiate(parser.parse_object(values)).data
    assert isinstance(data, datamodules.SegmentationData)


def test_every_data_set_has_a_fragment():
    named = {yaml.safe_load(path.read_text(encoding="utf-8"))["data"]["class_path"] for path in FRAGMENTS}
    assert named == {f"datamodules.{cls.__name__}" for cls in all_sets()}
