"""The picture of a training."""

import numpy as np

from lightning_app.cli import main
from lightning_app.files import read_csv
from lightning_app.training.progress_picture import by_epoch, draw
from tests.lightning_app.small import SMALL


def test_values_are_means_within_an_epoch():
    rows = [{"epoch": "0", "a": "1"}, {"epoch": "0", "a": "2"}, {"epoch": "0", "a": ""}, {"epoch": "3", "a": "5"}]
    assert by_epoch(rows, "a") == ([1, 4], [1.5, 5])
    assert by_epoch(rows, "b") == ([], [])


def test_the_curves_are_those_of_the_rows():
    steps = [{"epoch": str(e), "train/loss": str(0.5 / (e + 1)), "val/ece": "0.1", "val/dice": ""} for e in range(3)]
    figure = draw(steps, [{"epoch": "0", "lr": "0.01", "seconds": "4"}], "a run $x_{$")
    shown = {ax.get_title(): ax.lines for ax in figure.axes}
    np.testing.assert_allclose(shown["loss"][0].get_xydata(), [[1, 0.5], [2, 0.25], [3, 0.5 / 3]])
    np.testing.assert_allclose(shown["seconds an epoch"][0].get_xydata(), [[1, 4]])
    assert not shown["Dice"]


def test_a_run_has_a_picture_and_its_resume_a_row_an_epoch(tmp_path, capsys, unpainted_here):
    options = ["fit", *SMALL, "--trainer.logger=false", "--model.net.width=2", f"--runs_dir={tmp_path}"]
    run = main([*options, "--max_epochs=1", "--run_name=a b", "--lr=0.01"]).run_folder
    before = (run.path / "progress.png").stat().st_mtime_ns
    main(["fit", f"--resume={run}", "--max_epochs=2", "--trainer.enable_progress_bar=false"])
    rows = read_csv(run.epochs)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {float(row["lr"]) for row in rows} == {0.01}
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert (run.path / "progress.png").stat().st_mtime_ns > before
    told = capsys.readouterr().out
    assert f"Training's progress   '{run.path}/progress.png'\n" in told
    assert f"Look next             python -m lightning_app report '{run.path}'\n" in told
