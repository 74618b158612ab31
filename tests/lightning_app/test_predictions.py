"""What `predict` writes beside masks when members are averaged: two maps of uncertainty, in 2D and in 3D."""

import csv
import math
import shutil

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import lightning_app.training.predictions as predictions
import metrics
from lightning_app.cli import main
from tests.data.common import save_volume
from tests.data.decathlon.make import make

pytestmark = pytest.mark.usefixtures("unpainted")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
NET = ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--model.net.dropout=0.3"]
PHANTOM = ["--data.size=32", "--data.num_cases=[4,3,2]", "--data.num_workers=0"]
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 1, 0, 12], [0, 0, 1.5, -72], [0, 0, 0, 1]])
TILES = ["--model.inference.inference=models.SlidingWindow", "--model.inference.inference.window=[8,8,8]"]
AVERAGES = {
    "flips": ["--model.inference=models.TestTimeAugmentation"],
    "dropout": ["--model.inference=models.MonteCarloDropout", "--model.inference.samples=3"],
    "ensemble": ["--model.inference=models.CheckpointEnsemble", "--model.inference.checkpoints=[{other}]"],
}


def entropy(probs: np.ndarray, axis: int) -> np.ndarray:
    """In nats, by numpy."""
    return -(probs * np.log(np.clip(probs, 1e-30, 1))).sum(axis)


def fit(runs, seed: int, *args: str):
    """A run of one epoch."""
    options = [*QUIET, "--trainer.max_epochs=1", "--trainer.logger=false", f"--runs_dir={runs}"]
    return main(["fit", *options, f"--run_name={seed}", f"--seed_everything={seed}", *NET, *args]).run_folder.path


def predict(run, name: str, *args: str):
    """The folder of predictions, made anew with one of the averages."""
    shutil.rmtree(run / "predictions", ignore_errors=True)
    other = run.parent / "1" / "checkpoints" / "best.ckpt"
    main(["predict", *QUIET, f"--ckpt_path={run}", *(arg.format(other=other) for arg in AVERAGES[name]), *args])
    return run / "predictions" / ("new" if any("predict_root" in arg for arg in args) else "test")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A run on two-class images, and a second one beside it of another seed."""
    runs = tmp_path_factory.mktemp("images")
    fit(runs, 1, *PHANTOM)
    return fit(runs, 0, *PHANTOM)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """A run on three-class volumes that are resampled to twice the spacing, and new volumes with an affine."""
    root = tmp_path_factory.mktemp("volumes")
    data = ["--data=datamodules.Decathlon", f"--data.root={make(root / 'data')}", "--data.spacing=[2,2,2]"]
    tiles = ["--model.inference=models.SlidingWindow", "--model.inference.window=[8,8,8]", "--data.divisor=1"]
    run = fit(root / "runs", 0, *data, "--data.num_workers=0", "--data.patch_size=[8,8,8]", *tiles)
    rng = np.random.default_rng(0)
    for name in ("new a", "new_b"):
        save_volume(root / "new" / f"{name}.nii.gz", rng.normal(size=(12, 17, 14)).astype(np.float32), AFFINE)
    return run


@pytest.mark.parametrize("name", AVERAGES)
def test_images_get_both_maps_as_16_bit_shares_of_the_largest_entropy(images, name):
    folder = predict(images, name)
    parts = {"masks", "probabilities", "entropy", "mutual_information"}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == parts
    for mask in (folder / "masks").iterdir():
        share, whole, shared = (
            np.asarray(Image.open(folder / part / mask.name)).astype(float) / 65535
            for part in ("probabilities", "entropy", "mutual_information")
        )
        expected = entropy(np.stack([1 - share, share]), 0) / math.log(2)
        steep = np.abs(np.log((share + 1e-5) / (1 - share + 1e-5))) + 2  # the slope of the entropy, in levels
        assert (np.abs(whole - expected) <= steep / 65535).all()
        assert (shared <= whole + 1 / 65535).all()
        assert shared.max() > 0.001


def test_mutual_information_is_that_of_the_members(images):
    folder = predict(images, "ensemble")
    cli = main(["fit", *QUIET, f"--config={images / 'config.yaml'}"], run=False)
    members = []
    for run in (images, images.parent / "1"):
        weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        cli.model.load_state_dict(weights, strict=False)
        cli.datamodule.setup("predict")
        batches = list(cli.datamodule.predict_dataloader())
        with torch.no_grad():
            members.append({b["case"][0]: cli.model.eval().net(b["image"]).softmax(1)[0].numpy() for b in batches})
    for case in members[0]:
        stored = np.asarray(Image.open(folder / "mutual_information" / f"{case}.png")) / 65535 * math.log(2)
        probs = np.stack([member[case] for member in members])
        expected = entropy(probs.mean(0), 0) - entropy(probs, 1).mean(0)
        assert np.abs(stored - expected).max() < 1e-4


@pytest.mark.parametrize("name", ["flips", "dropout"])
def test_volumes_get_both_maps_in_nats_on_their_grid(volumes, name):
    folder = predict(volumes, name, *TILES, f"--data.predict_root={volumes.parent.parent / 'new'}")
    for part in ("masks", "probabilities", "entropy", "mutual_information"):
        assert sorted(path.name for path in (folder / part).iterdir()) == ["new a.nii.gz", "new_b.nii.gz"]
        assert np.allclose(nibabel.load(folder / part / "new a.nii.gz").affine, AFFINE)
    probs, whole, shared = (
        np.asarray(nibabel.load(folder / part / "new a.nii.gz").dataobj)
        for part in ("probabilities", "entropy", "mutual_information")
    )
    assert whole.shape == shared.shape == (12, 17, 14)
    assert np.abs(whole - entropy(probs.astype(np.float64), -1)).max() < 1e-5
    assert shared.min() >= 0
    assert (shared <= whole + 1e-6).all()
    assert 0.0001 < shared.max() < math.log(3)


def test_what_something_else_made_is_made_anew_and_what_the_same_made_stays(images, capsys):
    folder = images / "predictions" / "test"
    shutil.rmtree(folder, ignore_errors=True)

    def made(*args: str) -> list[int]:
        main(["predict", *QUIET, f"--ckpt_path={images}", *args])
        return [path.stat().st_mtime_ns for path in sorted((folder / "masks").iterdir())]

    plain = made()
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "cases.csv",
        "input.txt",
        "masks",
        "probabilities",
    ]
    assert "Entropy in" not in capsys.readouterr().out
    assert made() == plain
    averaged = made(*AVERAGES["flips"])
    assert not set(averaged) & set(plain)
    assert len(list((folder / "mutual_information").iterdir())) == 2
    assert "Mutual information in" in capsys.readouterr().out
    assert made(*AVERAGES["flips"]) == averaged
    cut = made(*AVERAGES["flips"], "--threshold=[0.2]")
    assert not set(cut) & set(averaged)
    (images / "checkpoints" / "best.ckpt").touch()  # as calibrate does
    assert not set(made(*AVERAGES["flips"], "--threshold=[0.2]")) & set(cut)


def test_a_stop_between_the_maps_and_the_mask_is_made_good(images, monkeypatch):
    real, calls = predictions.write_mask, []

    def stopping(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError("killed")
        return real(*args)

    monkeypatch.setattr(predictions, "write_mask", stopping)
    with pytest.raises(OSError, match="killed"):
        predict(images, "flips")
    monkeypatch.undo()
    folder = images / "predictions" / "test"
    (done,) = (folder / "masks").iterdir()
    assert len(list((folder / "entropy").iterdir())) == 2
    kept = {part: (folder / part / done.name).stat().st_mtime_ns for part in ("masks", "entropy")}
    main(["predict", *QUIET, f"--ckpt_path={images}", *AVERAGES["flips"]])
    assert len(list((folder / "masks").iterdir())) == 2
    assert {part: (folder / part / done.name).stat().st_mtime_ns for part in kept} == kept
    assert [path.name for path in folder.rglob(".*")] == [".lock"]


def folder_of_images(root, names, low: int = 0):
    """Grey noise, or masks of 0 and 255 with `low` 255."""
    rng = np.random.default_rng(len(names))
    root.mkdir(parents=True)
    for name in names:
        values = rng.integers(0, 256, (32, 32)) if not low else low * (rng.random((32, 32)) > 0.5)
        Image.fromarray(values.astype(np.uint8)).save(root / f"{name}.png")
    return f"--data.predict_root={root}"


@pytest.fixture(scope="module")
def of_a_folder(tmp_path_factory):
    """A run on a folder of images."""
    root = tmp_path_factory.mktemp("folder")
    for part, low in (("images", 0), ("masks", 255)):
        folder_of_images(root / "data" / part, [f"c{number}" for number in range(8)], low=low)
    data = ["--data=datamodules.ImageFolder", f"--data.root={root / 'data'}", "--data.size=[32,32]"]
    return fit(root / "runs", 0, *data)


def cells(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_input_has_a_folder_of_its_own_and_a_count_that_is_true(of_a_folder, tmp_path, capsys):
    """Two folders of images with names in common, and two folders of one name."""
    inputs = {
        "A": folder_of_images(tmp_path / "A", ["img0", "img1", "only_A"]),
        "B": folder_of_images(tmp_path / "B", ["img0", "img1"]),
        "A-2": folder_of_images(tmp_path / "other" / "A", ["img0"]),
    }
    for times in (1, 2):
        for name, given in inputs.items():
            capsys.readouterr()
            main(["predict", *QUIET, f"--ckpt_path={of_a_folder}", given])
            folder = of_a_folder / "predictions" / name
            count = len(list((folder / "masks").iterdir()))
            assert count == {"A": 3, "B": 2, "A-2": 1}[name], times
            assert ("1 mask in" if count == 1 else f"{count} masks in") in capsys.readouterr().out
            assert (
                len({row["case"] for row in cells(folder / "cases.csv")}) == len(cells(folder / "cases.csv")) == count
            )


def test_the_entry_of_a_case_holds_what_its_files_expect(of_a_folder, tmp_path):
    """Expected Dice and volume of the written map and mask; a second run keeps the entries."""
    given, out = folder_of_images(tmp_path / "A", ["a", "b"]), tmp_path / "out"
    command = ["predict", *QUIET, f"--ckpt_path={of_a_folder}", given, f"--output={out}", "--threshold=[0.4]"]
    main(command)
    rows = cells(out / "cases.csv")
    for row in rows:
        p = torch.from_numpy(np.asarray(Image.open(out / "probabilities" / f"{row['case']}.png")) / 65535)
        mask = torch.from_numpy(np.asarray(Image.open(out / "masks" / f"{row['case']}.png")).astype(np.int64))
        expected = metrics.expected_dice(torch.stack([1 - p, p]), mask)[1]
        assert float(row["expected_dice/foreground"]) == pytest.approx(float(expected), abs=1e-3)
        assert float(row["expected_volume/foreground"]) == pytest.approx(float(p.sum()), rel=1e-3)
        assert 0 <= float(row["uncertain_share/foreground"]) <= 1
    main(command)
    assert sorted(cells(out / "cases.csv"), key=str) == sorted(rows, key=str)


def test_output_takes_one_input_and_refuses_another(of_a_folder, tmp_path, capsys):
    first, second = (folder_of_images(tmp_path / name, ["a", "b"]) for name in "AB")
    out = f"--output={tmp_path / 'out'}"
    main(["predict", *QUIET, f"--ckpt_path={of_a_folder}", first, out])
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out" / "masks").iterdir()}
    with pytest.raises(SystemExit):
        main(["predict", *QUIET, f"--ckpt_path={of_a_folder}", second, out])
    assert f"holds the predictions of {tmp_path / 'A'}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "masks").iterdir()} == kept


def test_an_image_that_changed_under_its_name_is_predicted_anew(of_a_folder, tmp_path):
    given = folder_of_images(tmp_path / "changing", ["a", "b"])

    def predicted():
        main(["predict", *QUIET, f"--ckpt_path={of_a_folder}", given])
        folder = of_a_folder / "predictions" / "changing" / "masks"
        return {path.stem: path.stat().st_mtime_ns for path in folder.iterdir()}

    before = predicted()
    Image.fromarray(np.full((32, 32), 7, dtype=np.uint8)).save(tmp_path / "changing" / "b.png")
    after = predicted()
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
