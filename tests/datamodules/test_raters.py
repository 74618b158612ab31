"""Several raters of volumes, as of images: soft labels, one drawn, scores against all; by brute force in float64."""

import nibabel
import numpy as np
import pytest
import torch

from datamodules import DataError, ImageFolder, VolumeFolder
from datamodules.raters import majority, soft_labels, twins
from datamodules.verify import remarks, verify
from tests.data.common import save_image, save_volume

SHAPE = (12, 8, 8)
AFFINE = np.array([[0, -1.0, 0, 3], [1.5, 0, 0, -4], [0, 0, -2, 7], [0, 0, 0, 1]])  # axes swapped and turned
PATTERNS = [f"rater{rater}/{{name}}.nii.gz" for rater in (1, 2, 3)]


def make(root):
    """Four volumes of three classes and three raters below a folder; their labels (R, *S) by name, 9 does not count."""
    maps = {}
    for number in range(4):
        rng = np.random.default_rng(number)
        truth = rng.integers(0, 3, (6, 4, 4)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
        said = np.stack([np.where(rng.random(SHAPE) < 0.2, rng.integers(0, 3, SHAPE), truth) for _ in range(3)])
        said[rng.random(said.shape) < 0.03] = 9
        said[:, 0, 0, 0] = 9  # by all
        said[:, 5, 5, 5], said[:, 5, 5, 4] = (2, 0, 1), (2, 2, 9)  # nobody agrees; one does not say
        image = (truth + rng.normal(0, 0.5, SHAPE)).astype("float32")
        save_volume(root / f"images/{number}.nii.gz", image, AFFINE)
        for rater, labels in enumerate(said, 1):
            save_volume(root / f"rater{rater}/{number}.nii.gz", labels.astype("uint8"), AFFINE)
        maps[str(number)] = said
    return maps


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("rated")
    return root, make(root)


def folder(root, masks=PATTERNS, **options):
    options = {"divisor": 1, "patch_size": [8, 12, 8], "split_sizes": [2, 1, 1], "augment": False} | options
    options = {"classes": ["background", "a", "b"], "ignore": [9], "cache": "memory"} | options
    data = VolumeFolder(root=str(root), masks=masks, **options)
    data.setup()
    return data


def case_of(data, subset, number=0):
    return data.dataset(subset).cases[number]


def shares(said):
    """(K, *S) float64: the share of those who say k of those who say anything; 0 where nobody does."""
    found = np.zeros((3, *said.shape[1:]))
    for place in np.ndindex(*said.shape[1:]):
        votes = [int(label) for label in said[(slice(None), *place)] if label != 9]
        for k in range(3):
            found[(k, *place)] = votes.count(k) / len(votes) if votes else 0
    return found


def most(said):
    """(*S): what most say, the smallest of equals; 255 where nobody says anything."""
    found = shares(said)
    return np.where(found.any(0), found.argmax(0), 255)


def turned(array):
    """Stored (..., X, Y, Z) on axes (superior, anterior, right) of `AFFINE`: its third turned, first, second turned."""
    return np.moveaxis(array, (-1, -3, -2), (-3, -2, -1))[..., ::-1, :, ::-1]


def test_training_learns_the_mean_and_all_are_scored_against(made):
    root, maps = made
    data = folder(root)
    for subset in ("train", "val", "test"):
        sample, said = data.dataset(subset)[0], maps[case_of(data, subset).name]
        assert sample["mask"].dtype == torch.float32
        assert np.allclose(sample["mask"].numpy(), turned(shares(said)), rtol=0, atol=1e-7)
        if subset != "train":
            assert np.array_equal(sample["original_mask"], most(said))
            assert np.array_equal(sample["original_raters"], np.where(said == 9, 255, said))
    assert np.array_equal(data.label_reader().labels(case_of(data, "train")), most(maps[case_of(data, "train").name]))


@pytest.mark.parametrize(
    "options",
    [
        {"spacing": [1.5, 1.5, 1.5], "augment": True},
        {"spacing": [1.5, 1.5, 1.5], "cache": "disk"},
        {"slices": True, "patch_size": [12, 12], "augment": True},
        {"divisor": 16, "patch_size": [16, 16, 16], "augment": True},
    ],
    ids=["resampled", "on disk", "slices", "padded"],
)
def test_the_mean_is_that_of_each_rater_read_alone(made, tmp_path, options):
    """Same grid, place and augmentation for all: the volume of each alone is the oracle of the mean."""
    root = made[0]
    options = {"cache_dir": str(tmp_path), "patches_per_case": 4, **options}
    together, alone = folder(root, **options), [folder(root, pattern, **options) for pattern in PATTERNS]
    for subset in ("train", "val", "test"):
        for number in range(2):
            sample, parts = (together.dataset(subset)[number], [one.dataset(subset)[number] for one in alone])
            assert all(torch.equal(part["image"], sample["image"]) for part in parts)
            said = np.stack([part["mask"].numpy() for part in parts]).astype(int)
            assert np.allclose(sample["mask"].numpy(), shares(np.where(said == 255, 9, said)), rtol=0, atol=1e-7)
            if subset != "train":
                original = torch.stack([part["original_mask"] for part in parts])
                assert torch.equal(sample["original_raters"], original)
                assert np.array_equal(sample["original_mask"], most(np.where(original == 255, 9, original)))
            if number + 1 == len(together.dataset(subset)):
                break


def test_one_rater_is_drawn_a_step_or_the_first_taken(made):
    root, maps = made
    data = folder(root, raters="draw", patches_per_case=30)
    loader = data.train_dataloader()
    drawn = []
    for batch in loader:
        assert batch["mask"].dtype == torch.uint8
        for name, mask in zip(batch["case"], batch["mask"].numpy(), strict=True):
            own = np.where(maps[name] == 9, 255, maps[name])
            drawn.append([np.array_equal(mask, turned(one)) for one in own])
    assert np.array(drawn).sum(1).tolist() == [1] * 60
    assert np.array(drawn).sum(0).min() >= 10  # of 60, 20 each in expectation
    assert data.dataset("val")[0]["mask"].is_floating_point()
    first = folder(root, raters="first").dataset("train")
    own = maps[first.cases[0].name][0]
    assert np.array_equal(first[0]["mask"], turned(np.where(own == 9, 255, own)))
    sliced = folder(root, raters="draw", slices=True, patch_size=[12, 8]).dataset("train")[0]["mask"]
    assert (sliced.dtype, tuple(sliced.shape)) == (torch.uint8, (12, 8))


def test_a_fingerprint_is_of_the_foreground_that_most_say(made, tmp_path):
    root, maps = made
    data = folder(root, normalisation="fingerprint", cache_dir=str(tmp_path))
    values = []
    for case in data.subsets["train"]:
        label = most(maps[case.name])
        image = np.asanyarray(nibabel.load(case.images[0]).dataobj)
        values.append(image[(label != 0) & (label != 255)])
    values = np.concatenate(values).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    assert data.fingerprint().bounds[0] == pytest.approx((low, high))
    assert data.fingerprint().mean[0] == pytest.approx(values.clip(low, high).mean())


def test_votes():
    maps = np.random.default_rng(0).choice([0, 1, 2, 255], (4, 500)).astype(np.uint8)
    said = np.where(maps == 255, 9, maps)
    assert np.allclose(soft_labels(maps, 3), shares(said), rtol=0, atol=1e-7)
    assert np.array_equal(majority(maps), most(said))
    assert twins(maps[[0, 1, 0, 2, 1]]) == [(0, 2), (1, 4)]


# What is refused or said


def test_a_rater_who_lacks_a_mask_is_named(made, tmp_path):
    for kind, ending in ((VolumeFolder, "nii.gz"), (ImageFolder, "png")):
        for number in range(3):
            for part in ("images", "rater1", *(("rater2",) if number != 1 else ())):
                blank = np.eye(8, dtype="uint8")
                path = tmp_path / ending / part / f"{number}.{ending}"
                save_image(path, blank) if ending == "png" else save_volume(path, blank[..., None].repeat(4, 2))
        data = kind(root=str(tmp_path / ending), masks=[f"rater{rater}/{{name}}.{ending}" for rater in (1, 2)])
        told = rf"1\.{ending}: has no mask by masks=rater2/\{{name\}}\.{ending}; 1 of 3 images have none. Add the masks"
        with pytest.raises(DataError, match=told):
            data.setup()


def copied(made, root, rater, change):
    """The folder with one mask of a rater changed."""
    for path in made[0].rglob("*.nii.gz"):
        image = nibabel.load(path)
        array, affine = np.asanyarray(image.dataobj), image.affine
        if path.parent.name == f"rater{rater}" and path.name == "2.nii.gz":
            array, affine = change(array, affine.copy())
        save_volume(root / path.relative_to(made[0]), array, affine)
    return root


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda array, affine: (array[1:], affine), r"shape \(11, 8, 8\) for an image of \(12, 8, 8\)"),
        (lambda array, affine: (array, affine + np.eye(4)[:, :1] * [0, 0, 0, 5]), "lies up to 5 mm off the image"),
        (lambda array, affine: (array + 1, affine), "values 3, 10|value"),
    ],
    ids=["size", "place", "values"],
)
@pytest.mark.parametrize("rater", [2, 3])
def test_each_raters_masks_are_held_against_the_image(made, tmp_path, rater, change, told):
    root = copied(made, tmp_path, rater, change)
    with pytest.raises(DataError, match=rf"rater{rater}.2\.nii\.gz: .*({told})"):
        folder(root)
    data = VolumeFolder(root=str(root), masks=PATTERNS, classes=["background", "a", "b"], ignore=[9])
    problems = {report.case: report.problems for report in verify(data)}
    assert [name for name, found in problems.items() if found] == ["2"]
    assert f"rater{rater}" in problems["2"][0]


def test_a_file_is_the_mask_of_one_rater_only(made):
    root, _ = made
    patterns = [*PATTERNS, "rate[r]2/{name}.nii.gz"]
    with pytest.raises(DataError, match="is a mask of"):
        folder(root, patterns)


@pytest.mark.parametrize("kind", [VolumeFolder, ImageFolder])
def test_twins_are_said_once_and_still_read(tmp_path, kind):
    rng, ending = np.random.default_rng(0), "png" if kind is ImageFolder else "nii.gz"
    for number in range(4):
        for part, seed in (("images", None), ("one", 1), ("two", 2), ("three", 1)):
            held = rng if seed is None else np.random.default_rng([seed, number])
            array = held.integers(0, 2, (8, 8, 4)).astype("uint8") if ending != "png" else None
            path = tmp_path / part / f"{number}.{ending}"
            if array is None:
                save_image(path, (255 * held.integers(0, 2, (8, 8))).astype("uint8"))
            else:
                save_volume(path, array)
    masks = [f"{part}/{{name}}.{ending}" for part in ("one", "two", "three")]
    data = kind(root=str(tmp_path), masks=masks, split_sizes=[2, 1, 1])
    told = rf"masks='three/\{{name\}}.{ending}' are those of 'one/\{{name\}}.{ending}' in all 4 cases: .* Leave one"
    for _ in range(2):  # also where the check was kept
        with pytest.warns(UserWarning, match=told) as caught:
            kind(root=str(tmp_path), masks=masks, split_sizes=[2, 1, 1]).setup()
        assert len(caught) == 1
    assert sum("are those of" in line for line in remarks(data, list(verify(data)))) == 1
    kind(root=str(tmp_path), masks=masks[:2], split_sizes=[2, 1, 1]).setup()  # not said of two who differ


def test_arguments_that_do_not_go_together_are_refused(made):
    root = str(made[0])
    for raters, masks, told in (
        ("draw", PATTERNS[0], "raters='draw' with one rater"),
        ("vote", PATTERNS, "raters='vote': use mean, draw, first"),
    ):
        with pytest.raises(DataError, match=told):
            VolumeFolder(root=root, masks=masks, raters=raters)
    with pytest.raises(DataError, match="regions of 3 raters: they need one label map a case"):
        VolumeFolder(root=root, masks=PATTERNS, classes=["background", "a", "b"], regions={"all": [1, 2], "b": [2]})


def test_two_files_of_one_rater_and_one_of_two_are_kept_apart_on_disk(tmp_path):
    for number in range(3):
        rng = np.random.default_rng(number)
        for part in ("images", "masks/a", "masks/b"):
            path = tmp_path / (f"{part}_{number}.nii.gz" if "/" in part else f"{part}/{number}.nii.gz")
            save_volume(path, rng.integers(0, 2, SHAPE).astype("uint8"))
    options = {
        "classes": None,
        "ignore": None,
        "coding": "binary",
        "cache": "disk",
        "cache_dir": str(tmp_path / "kept"),
    }
    united = folder(tmp_path, "masks/?_{name}.nii.gz", **options | {"split_sizes": [1, 1, 1]})
    apart = folder(tmp_path, ["masks/a_{name}.nii.gz", "masks/b_{name}.nii.gz"], **options | {"split_sizes": [1, 1, 1]})
    one, two = (data.dataset("val")[0]["mask"] for data in (united, apart))
    assert torch.equal(one == 1, two[1] > 0)
    assert set(two[1].unique().tolist()) == {0, 0.5, 1}
