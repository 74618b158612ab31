"""`predict --threshold risk` of several classes, against the rule of docs/trust.md over the written probabilities."""

import contextlib
import csv
import io
import shutil

import nibabel
import numpy as np
import pytest
import torch

import metrics
from lightning_app.cli import main
from tests.data.common import save_volume

pytestmark = [
    pytest.mark.slow,  # one training, then calibrates twice, tests twice, predicts four times
    pytest.mark.usefixtures("unpainted"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]
SHAPE, LEVEL, CLASSES = (12, 8, 8), 0.25, ("core", "rim")
QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def make(root):
    """24 volumes of a core in a rim, in noise, so that claims meet: 2 to train on, 11 to promise by, 11 to test on."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    for number in range(24):
        labels = np.where(radius < rng.uniform(2, 2.5), 1, np.where(radius < rng.uniform(3.5, 5), 2, 0))
        part = "train" if number < 2 else "val" if number < 13 else "test"
        save_volume(root / part / f"{number:02}.nii.gz", (labels + rng.normal(0, 0.8, SHAPE)).astype("float32"))
        save_volume(root / part / f"{number:02}_mask.nii.gz", labels.astype("uint8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, unpainted):
    """A folder with `data`, the images of `val` alone, and a run."""
    root = tmp_path_factory.mktemp("risk")
    make(root / "data")
    (root / "val").mkdir()
    for path in (root / "data/val").glob("??.nii.gz"):
        shutil.copy(path, root / "val")
    data = ["--data=datamodules.VolumeFolder", f"--data.root={root / 'data'}", "--data.images={folder}/{name}.nii.gz"]
    data += ["--data.masks={folder}/{name}_mask.nii.gz", "--data.exclude=**/*_mask.nii.gz", "--data.patches_per_case=8"]
    data += ["--data.classes=[background,core,rim]", "--data.patch_size=[4,8,8]", "--data.divisor=4"]
    net = ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--trainer.max_epochs=3"]
    main(["fit", *data, *net, *QUIET, f"--runs_dir={root / 'runs'}", "--run_name=a"])
    return root


@pytest.fixture(scope="module", params=[None, "rim"])
def run(request, trained):
    """Data, run, promises of both classes or of one, and by subset what `predict` said while it wrote its masks."""
    run = trained / "runs" / "a"
    of_class = [] if request.param is None else [f"--of_class=[{request.param}]"]
    main(["calibrate", *QUIET, f"--ckpt_path={run}", "--method=risk", f"--level={LEVEL}", *of_class])
    main(["test", *QUIET, f"--ckpt_path={run}"])
    said = {}
    for subset, options in {"test": [], "val": [f"--data.predict_root={trained / 'val'}"]}.items():
        with contextlib.redirect_stderr(io.StringIO()) as err:
            main(["predict", *QUIET, f"--ckpt_path={run}", "--threshold=risk", *options])
        said[subset] = err.getvalue()
    promises = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["risk"]["promises"]
    return trained, run, promises, said


def array(path):
    return np.asanyarray(nibabel.load(path).dataobj)


def cases(run, subset):
    """By case: probabilities (K, *S) as written, labels, the label map and what is claimed for each class."""
    root, folder = run[0], run[1] / "predictions" / subset
    for path in sorted((root / "data" / subset).glob("??.nii.gz")):
        name = next(p.name for p in (folder / "masks").iterdir() if p.name.endswith(path.name))
        sets = [array(folder / "sets" / one / name) for one in CLASSES]
        probs = np.moveaxis(array(folder / "probabilities" / name), -1, 0).astype(np.float64)
        yield probs, array(path.with_name(f"{path.name[:2]}_mask.nii.gz")), array(folder / "masks" / name), sets


def claims(probs, cuts):
    """(K - 1, *S): p_k at or above the cut of its class, or the largest of all where there is no cut."""
    largest = probs.argmax(0)
    return np.stack([largest == k if cut is None else probs[k] >= cut for k, cut in enumerate(cuts, 1)])


def cuts_of(promises):
    edges = metrics.axis_edges().numpy()
    return [edges[promises[name]["cut"]] if name in promises else None for name in CLASSES]


@pytest.mark.parametrize("subset", ["test", "val"])
def test_masks_are_those_of_the_rule(run, subset):
    cuts, shared, unclaimed, voxels = cuts_of(run[2]), 0, 0, 0
    for probs, _, mask, sets in cases(run, subset):
        expected = claims(probs, cuts)
        assert np.array_equal(np.stack(sets), expected)
        shared, unclaimed = shared + int((expected.sum(0) > 1).sum()), unclaimed + int((~expected.any(0)).sum())
        voxels += mask.size
        labels = np.zeros(mask.shape, int)
        for place in np.argwhere(expected.any(0)):
            at = tuple(place)
            excess = {
                k: probs[k][at] / (0.5 if cuts[k - 1] is None else cuts[k - 1]) for k in (1, 2) if expected[k - 1][at]
            }
            labels[at] = max(excess, key=lambda k: (excess[k], -k))
        assert np.array_equal(mask, labels)
    assert shared  # else the rule was not asked
    assert unclaimed
    told = (
        f"several classes claim {shared:,} of {voxels:,} voxels ({shared / voxels:.2%}): the label map gives each to "
    )
    assert run[3][subset].count(told) == 1
    assert f"none claims {unclaimed:,} of {voxels:,} voxels ({unclaimed / voxels:.2%})" in run[3][subset]


def missed(run, subset, number, cut):
    """Share of the true voxels of a class with p below a cut, by case."""
    return [float((probs[number] < cut)[labels == number].mean()) for probs, labels, *_ in cases(run, subset)]


def test_each_promised_cut_is_the_highest_that_keeps_its_class(run):
    edges = metrics.axis_edges().numpy()
    for name, one in run[2].items():
        number = CLASSES.index(name) + 1
        bound = [(sum(missed(run, "val", number, edges[cut])) + 1) / 12 for cut in (one["cut"], one["cut"] + 1)]
        assert bound[0] <= LEVEL < bound[1]
        assert one["seen"] == pytest.approx(np.mean(missed(run, "val", number, edges[one["cut"]])), abs=1e-9)


def test_it_is_held_on_the_test_cases_by_the_sets(run):
    with (run[1] / "test" / "risk.csv").open(newline="") as file:
        rows = {row["class"]: float(row["happened"]) for row in csv.DictReader(file)}
    assert list(rows) == list(run[2])
    for name, happened in rows.items():
        number = CLASSES.index(name)
        by_sets = [1 - sets[number][labels == number + 1].mean() for _, labels, _, sets in cases(run, "test")]
        assert happened == pytest.approx(np.mean(by_sets), abs=1e-6)
        assert happened <= LEVEL
