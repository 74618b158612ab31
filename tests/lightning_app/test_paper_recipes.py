"""The DSC++ paper's recipes: what the program makes of them is what the paper's repository says."""

from pathlib import Path

import pytest

from lightning_app.files import read_yaml

RECIPES = sorted(Path("lightning_app/configs/paper").glob("*.yaml"))
SIZES = {"drive": (512, 512), "cvc_clinicdb": (288, 384), "dsb2018": (256, 256)}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_the_papers(path, tmp_path):
    from lightning_app.cli import main

    program = main(["fit", f"--config={path}", f"--runs_dir={tmp_path}", "--trainer.logger=false"], run=False)
    net, data = program.model.net, program.datamodule
    assert sum(weights.numel() for weights in net.parameters()) == 7_766_018
    assert (tuple(data.size), data.batch_size, data.split) == (SIZES[path.stem], 1, "paper")
    stop = next(one for one in program.trainer.callbacks if type(one).__name__ == "EarlyStopping")
    assert (stop.monitor, stop.patience, program.trainer.max_epochs) == ("val/loss", 50, 1000)
    optimizer = read_yaml(path)["optimizer"]
    assert optimizer == {
        "class_path": "torch.optim.SGD",
        "init_args": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    }
