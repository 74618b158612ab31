"""Our rooms beside a user's folders of the same names, and the installed wheel in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import losses
from calibrated_segmentation.rooms import ROOMS
from lightning_app.shipped import CONFIGS, HOME, SWEEPS, find_config

TINY = [
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.logger=false", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--data.size=16", "--data.num_cases=[2,1,1]", "--data.batch_size=2",
]  # fmt: skip
LIBRARY = """
import losses as mine
from calibrated_segmentation import losses, metrics
from calibrated_segmentation.losses import DiceLoss
import calibrated_segmentation.losses.overlap as overlap
assert mine.mine and not hasattr(mine, "DiceLoss")
assert losses.DiceLoss is DiceLoss is overlap.DiceLoss
import torch
print("%.4f" % DiceLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """What the wheel installs, unpacked."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")
    for name in ("calibrated_segmentation", "lightning_app", "sweeps", *ROOMS):
        shutil.copytree(HOME / name, source / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOME / name, source)
    build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(source / "out"), str(source)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (wheel,) = (source / "out").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run(site: Path, cwd: Path, *args: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, *args], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def own_rooms(folder: Path) -> Path:
    """A user's project with packages and modules of our names, which must not even be imported by the program."""
    for name in ("models", "metrics"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own')\n")
    (folder / "datamodules").mkdir()  # a folder of images, say
    (folder / "losses.py").write_text("mine = True\n")
    return folder


def test_commands_and_recipes_work_beside_folders_of_the_rooms_names(site, tmp_path):
    output = run(site, own_rooms(tmp_path), "-m", "lightning_app", "fit", "--config", "phantom", *TINY)
    assert "Run folder" in output


def test_library_works_beside_a_module_of_its_name(site, tmp_path):
    (own_rooms(tmp_path) / "script.py").write_text(LIBRARY)
    # p is 1/2 everywhere and all voxels are background: 1/3 for it, 1 for the absent class
    assert run(site, tmp_path, "script.py").strip() == "0.6667"


def test_the_installed_script_is_the_program_and_reaches_the_users_own_packages(site, tmp_path):
    (entries,) = site.glob("*.dist-info/entry_points.txt")
    module, function = re.search(r"^calseg = ([\w.]+):(\w+)$", entries.read_text(), re.MULTILINE).groups()
    script, folder = tmp_path / "bin" / "calseg", tmp_path / "project"
    script.parent.mkdir()
    folder.mkdir()
    (folder / "mine.py").write_text("reached = 'reached'\n")
    script.write_text(f"from {module} import {function}\n{function}()\nimport mine\nprint(mine.reached)\n")
    assert run(site, folder, str(script), "--help").startswith("usage: ")
    assert run(site, folder, str(script), "data", "list").endswith("reached\n")


def test_one_class_object_however_it_is_imported():
    import calibrated_segmentation.losses.overlap

    from calibrated_segmentation import losses as served

    assert served is losses
    assert calibrated_segmentation.losses.overlap.DiceLoss is losses.DiceLoss
    assert sys.modules["losses.overlap"].__spec__.name == "losses.overlap"


def test_users_own_class_in_a_room_of_ours_is_refused_in_words(tmp_path, monkeypatch, capsys):
    from lightning_app.cli import main

    monkeypatch.chdir(own_rooms(tmp_path))
    with pytest.raises(SystemExit):
        main(["fit", "--model.net=models.Mine"])
    error = capsys.readouterr().err
    assert "models is a room of this program, not the models of this folder" in error


def test_wheel_holds_recipes_and_sweeps(site, tmp_path):
    for folder in (CONFIGS, SWEEPS):
        for path in folder.rglob("*.yaml"):
            assert (site / path.relative_to(HOME)).read_text() == path.read_text()
    output = run(site, tmp_path, "-m", "lightning_app", "sweep", "bench_a_phantom", "--dry_run")
    assert "4 runs; nothing was started" in output


@pytest.mark.parametrize("page", sorted(p.name for p in (HOME / "docs").glob("*.md")))
def test_a_page_that_speaks_of_the_ece_spells_it_out(page):
    text = (HOME / "docs" / page).read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    assert not re.search(r"\bECE\b", prose) or "expected calibration error" in prose.lower()


def test_unknown_recipe_names_what_was_meant():
    with pytest.raises(FileNotFoundError, match=r"hippocampos: no such file; did you mean .*hippocampus"):
        find_config("hippocampos")
    assert find_config("{a: 1}") == "{a: 1}"


def test_own_file_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hippocampus").write_text("data: datamodules.DRIVE\n")
    assert find_config("hippocampus") == "hippocampus"
    assert find_config("data/drive") == str(CONFIGS / "data" / "drive.yaml")
