"""Every shipped sweep file: sound, headed, and each of its values is taken by the real parser."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import losses
import models
from lightning_app.sweep.check import covering
from lightning_app.sweep.file import command_line, grid_cells, load, server_only

FILES = sorted(Path("sweeps").glob("*.yaml"))
STAGE_METRICS = ("dice", "ece", "nll", "brier", "iou")


def built(loss):
    """The loss that a value names, and the parts of a sum."""
    options = dict(loss.get("init_args", {}))
    if "losses" in options:
        options["losses"] = {name: built(part) for name, part in options["losses"].items()}
    return getattr(losses, loss["class_path"].removeprefix("losses."))(**options)


def taken(loss, given):
    """Whether a loss is of the class that a value names, with its arguments and, of a sum, its parts."""
    options = dict(given.get("init_args", {}))
    parts = options.pop("losses", {})
    return (
        type(loss).__name__ == given["class_path"].removeprefix("losses.")
        and all(getattr(loss, name, value) == value for name, value in options.items())
        and all(taken(loss.losses[name], part) for name, part in parts.items())
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFile:
    def test_it_is_sound_and_runs_without_a_server(self, path):
        assert server_only(load(path).config) == []

    def test_its_header_says_the_question_both_ways_to_launch_it_and_the_cost(self, path):
        header = "".join(line[1:] for line in path.read_text().splitlines() if line.startswith("#"))
        assert "?" in header
        assert f"python -m lightning_app sweep {path}" in header
        assert f"wandb sweep {path}" in header
        assert re.search(r"Cost: \d+ runs", header)

    def test_its_cost_counts_its_runs(self, path):
        said = int(re.search(r"Cost: (\d+) runs", path.read_text())[1])
        assert said == len(grid_cells(load(path).parameters))

    def test_its_metric_is_one_that_the_kept_checkpoint_is_scored_by(self, path):
        stage, metric = load(path).metric.split("/")
        assert stage == "val"
        assert metric in STAGE_METRICS

    def test_it_is_plain_yaml_with_one_axis_of_whole_losses(self, path):
        parameters = yaml.safe_load(path.read_text())["parameters"]
        losses = [name for name in parameters if name.startswith("model.loss")]
        assert losses in (["model.loss"], [])

    def test_its_losses_exist_and_take_their_arguments(self, path):
        for loss in load(path).parameters.get("model.loss", {}).get("values", []):
            built(loss)


@pytest.mark.parametrize("path", sorted(Path("sweeps/gdl").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_gdl_papers_patches_hold_foreground_where_the_network_scores_them(path):
    settings = yaml.safe_load(path.read_text())
    net, patch = settings["model"]["net"], settings["data"]["init_args"]["patch_size"]
    options = {"in_channels": 1, "num_classes": 2, "spatial_dims": len(patch), **net.get("init_args", {})}
    with torch.device("meta"):  # shapes alone
        logits = getattr(models, net["class_path"].removeprefix("models."))(**options)(torch.empty(2, 1, *patch))
    assert settings["data"]["init_args"]["sampling"]["init_args"]["window"] == list(logits.shape[2:])


@pytest.mark.slow  # builds the real parser, and some eighty command lines with it
def test_every_value_of_every_file_is_taken_by_the_real_program(monkeypatch, tmp_path, shared_data):
    from lightning_app.cli import main

    monkeypatch.setenv("SEGMENTATION_DATA", str(shared_data))
    lines, seen = [], set()
    for path in FILES:
        sweep = load(path)
        for cell in covering(grid_cells(sweep.parameters), seen):
            line = command_line(sweep.config, cell)
            lines.append((path.stem, cell, line[line.index("lightning_app") + 1 :]))
    for number, (stem, cell, line) in enumerate(lines):
        own = [f"--runs_dir={tmp_path}", f"--run_name=r{number}", "--trainer.logger=false"]
        try:
            program = main([*line, *own], run=False)
        except SystemExit as end:
            pytest.fail(f"{stem}: {' '.join(line)}: exit {end.code}")
        loss = cell.get("model.loss", {})
        assert not loss or taken(program.model.loss, loss)
