"""Losses of other libraries on the command line: an argument that is a tensor is written as a list of numbers."""

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn

import lightning_app.training.program  # registers how a tensor is written


def test_weights_of_torchs_cross_entropy_are_a_list_and_stay_one_in_the_config():
    assert lightning_app.training.program
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(nn.Module, "loss")
    config = parser.parse_args(["--loss=torch.nn.CrossEntropyLoss", "--loss.weight=[0.25,0.75]"])
    loss = parser.instantiate_classes(config).loss
    torch.testing.assert_close(loss.weight, torch.tensor([0.25, 0.75]))
    assert yaml.safe_load(parser.dump(config))["loss"]["init_args"]["weight"] == [0.25, 0.75]
