"""Run folders and the page made of them, once for all tests."""

import pytest

from lightning_app.report.command import main
from tests.report.fakes import CLASSES, make_run

HIPPOCAMPUS = {
    "class_path": "datamodules.Decathlon",
    "init_args": {"task": "Task04_Hippocampus", "patch_size": [8, 8, 8]},
}
METHODS = [
    ("DiceLoss", {}, 4.0),
    ("DicePlusPlusLoss", {"gamma": 1.5}, 2.0),
    ("DicePlusPlusLoss", {"gamma": 2.0}, 1.0),
    ("DicePlusPlusLoss", {"gamma": 3.0}, 0.5),
]


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Four methods on two data sets, two seeds on the first."""
    root = tmp_path_factory.mktemp("sweep")
    for number, (loss, arguments, sharpness) in enumerate(METHODS):
        for seed in (0, 1):
            make_run(root / f"phantom-{number}-{seed}", loss, arguments, seed, sharpness)
        make_run(
            root / f"hippocampus-{number}", loss, arguments, 0, sharpness, HIPPOCAMPUS, classes=CLASSES, slices=True
        )
    return root


@pytest.fixture(scope="session")
def page(runs):
    """The report of these runs."""
    folders = ["--tables", str(runs / "tables"), "--figures", str(runs / "figures")]
    assert main([str(runs), *folders, "--title", "Which <loss>?"]) == 0
    return runs / "report.html"
