"""The user's own folders: patterns, claims, split folders, raters, fits; nnU-Net's and the Decathlon's habits."""

import json

import numpy as np
import pytest
import torch

from datamodules import DataError, Decathlon, ImageFolder, NNUNetRaw
from datamodules.patterns import expression
from datamodules.verify import remarks, verify
from tests.data.common import save_image, save_volume

SHAPE = (32, 48)
BOX = np.zeros(SHAPE, np.uint8)
BOX[8:20, 10:30] = 255


def pair(root, image, *masks, seed=0, mask=BOX):
    rng = np.random.default_rng([seed, len(image)])
    save_image(root / image, rng.integers(0, 255, (*SHAPE, 3)).astype(np.uint8))
    for path in masks:
        save_image(root / path, mask)


def pairs(data):
    return {case.name: [path.relative_to(data.root).as_posix() for path in case.masks] for case in data.checked_cases()}


@pytest.mark.parametrize(
    ("pattern", "path", "words"),
    [
        ("{name}_img.png", "001_img.png", {"name": "001"}),
        ("img_{name}.*", "img_a.b.png", {"name": "a.b"}),
        ("x/{folder}/{name}.png", "x/p/q/1.png", {"folder": "p/q", "name": "1"}),
        ("{folder}/{name}/{name}.png", "a/b/b.png", {"folder": "a", "name": "b"}),
        ("**/i[0-9]?.png", "u/v/i7x.png", {}),
        ("a/*.png", "a/b/c.png", None),
        ("{folder}/{name}/{name}.png", "a/b/c.png", None),
    ],
)
def test_patterns(pattern, path, words):
    match = expression(pattern).fullmatch(path)
    assert (match and match.groupdict()) == words


LAYOUTS = {
    "suffixes": (["{}_img.png", "{}_mask.png"], "{name}_img.png", "{name}_mask.png"),
    "a star": (["{}_img.png", "{}_masks.png"], "*_img.png", "{name}_masks.png"),
    "prefixes": (["img_{}.png", "mask_{}.png"], "img_{name}.png", "mask_{name}.png"),
    "folders": (["images/p{}/001.png", "masks/p{}/001.png"], "images/{folder}/{name}.png", "masks/{folder}/{name}.png"),
    "patients": (["p{}/scan.png", "p{}/label.png"], "{folder}/scan.png", "{folder}/label.png"),
    "beside": (["{}.png", "{}_mask.png"], "{name}.png", "{name}_mask.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_and_folders_on_both_sides(tmp_path, layout):
    (image, mask), images, masks = LAYOUTS[layout]
    for number in (1, 2, 10):
        pair(tmp_path, image.format(number), mask.format(number), seed=number)
    data = ImageFolder(root=str(tmp_path), images=images, masks=masks)
    found = [path for masks in pairs(data).values() for path in masks]
    assert sorted(found) == sorted(mask.format(number) for number in (1, 2, 10))
    assert len(pairs(data)) == 3
    assert data.unlabelled == data.orphans == []


def test_a_mask_of_two_images_is_refused(tmp_path):
    for patient in "ab":
        pair(tmp_path, f"images/{patient}/001.png", f"masks/{patient}/001.png")
    with pytest.raises(DataError, match=r"masks/a/001\.png: is a mask of .*a/001\.png and of .*b/001\.png.*\{folder\}"):
        ImageFolder(root=str(tmp_path), images="images/*/*.png", masks="masks/*/{name}.png").setup()
    for number in (1, 10):
        pair(tmp_path / "b", f"images/img{number}.png", f"masks/img{number}_1.png")
    with pytest.raises(DataError, match=r"img10_1\.png: is a mask of .*img1\.png and of .*img10\.png.*\{name\}_\*"):
        ImageFolder(root=str(tmp_path / "b"), masks="masks/{name}*.png").setup()
    assert len(pairs(ImageFolder(root=str(tmp_path / "b"), masks="masks/{name}_*.png"))) == 2


def test_files_a_class_come_in_natural_order(tmp_path):
    order = np.zeros((11, *SHAPE), np.uint8)
    for number in range(1, 12):
        order[number - 1, 2 * number] = 255
        pair(tmp_path, "images/a.png", f"masks/a_class{number}.png", mask=order[number - 1])
    classes = [f"c{number}" for number in range(12)]
    data = ImageFolder(root=str(tmp_path), masks="masks/{name}_class*.png", coding="files", classes=classes)
    (case,) = data.checked_cases()
    assert data.label_reader().labels(case)[2:24:2, 0].tolist() == list(range(1, 12))


def test_hidden_files_and_other_tools_files_are_not_seen(tmp_path):
    for name in "ab":
        pair(tmp_path, f"images/{name}.png", f"masks/{name}.png", seed=ord(name))
    for name in ("images/._a.png", "masks/._a.png", "images/Thumbs.db", "masks/a.json", "__MACOSX/images/._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    data = ImageFolder(root=str(tmp_path))
    assert pairs(data) == {"a": ["masks/a.png"], "b": ["masks/b.png"]}
    ImageFolder(root=str(tmp_path), split_sizes=[1, 1, 0]).setup()


def test_images_without_masks_and_masks_without_images_are_counted(tmp_path):
    for name in "abc":
        pair(tmp_path, f"images/{name}.png", f"masks/{name}.png", seed=ord(name))
    (tmp_path / "masks/b.png").rename(tmp_path / "masks/x.png")
    data = ImageFolder(root=str(tmp_path))
    reports = list(verify(data))
    assert ([len(data.unlabelled), len(data.orphans)], len(reports)) == ([1, 1], 2)
    assert any("1 masks belong to no image, as" in line for line in remarks(data, reports))
    with pytest.raises(DataError, match=r"images/b\.png: has no mask by masks=masks/\{name\}\.\*; 1 of 3 images"):
        data.setup()
    ImageFolder(root=str(tmp_path), exclude="images/b.*", split_sizes=[1, 1, 0]).setup()


def test_folders_train_val_and_test_are_the_split(tmp_path):
    for subset, count in (("train", 3), ("valid", 1), ("test", 2)):
        for number in range(count):
            name = f"{subset}/{{}}/{subset}{number}.png"
            pair(tmp_path, name.format("images"), name.format("masks"), seed=len(name) + number)
    own = {"root": str(tmp_path), "images": "{folder}/images/{name}.png", "masks": "{folder}/masks/{name}.png"}
    data = ImageFolder(**own)
    data.setup()
    assert {subset: len(cases) for subset, cases in data.subsets.items()} == {"train": 3, "val": 1, "test": 2}
    assert {case.name for case in data.subsets["val"]} == {"valid__valid0"}
    other = ImageFolder(**own, split="random", split_sizes=[4, 1, 1])
    other.setup()
    assert len(other.subsets["train"]) == 4


def test_the_split_of_a_folder_is_stable_under_additions(tmp_path):
    for number in range(60):
        pair(tmp_path, f"images/{number}.png", f"masks/{number}.png", seed=number)

    def places():
        data = ImageFolder(root=str(tmp_path))
        data.setup("test")
        return {row["case"]: row["subset"] for row in data.split_table()}

    before = places()
    for number in range(60, 75):
        pair(tmp_path, f"images/{number}.png", f"masks/{number}.png", seed=number)
    after = places()
    assert {name: after[name] for name in before} == before
    assert len(after) == 75
    counts = [list(after.values()).count(subset) for subset in ("train", "val", "test")]
    assert counts[0] > 35
    assert min(counts) >= 5


def test_a_dark_object_is_inverted_and_said(tmp_path):
    dark = np.where(BOX, 0, 255).astype(np.uint8)
    for number in range(3):
        pair(tmp_path, f"images/{number}.png", f"masks/{number}.png", seed=number, mask=dark)
    data = ImageFolder(root=str(tmp_path))
    assert any("set invert true" in line for line in remarks(data, list(verify(data))))
    data = ImageFolder(root=str(tmp_path), invert=True)
    assert all(np.array_equal(data.label_reader().labels(case), BOX > 0) for case in data.checked_cases())


# Several raters


def raters(tmp_path, count=3):
    maps = np.zeros((count, *SHAPE), np.uint8)
    for rater in range(count):
        maps[rater, 8 : 20 + 3 * rater, 10:30] = 255
    for number in range(4):
        pair(tmp_path, f"images/{number}.png", seed=number)
        for rater in range(count):
            save_image(tmp_path / f"rater{rater}/{number}.png", maps[rater])
    return maps > 0


def test_several_raters_give_their_mean_and_are_scored_by_what_most_say(tmp_path):
    maps = raters(tmp_path)
    patterns = [f"rater{rater}/{{name}}.png" for rater in range(3)]
    data = ImageFolder(root=str(tmp_path), masks=patterns, size="native", divisor=1, augment=False)
    data.setup("fit")
    sample = data.dataset("train")[0]
    assert sample["mask"].dtype == torch.float32
    assert sample["mask"].shape == (2, *SHAPE)
    assert np.allclose(sample["mask"][1].numpy(), maps.mean(0), atol=1e-7)
    assert torch.allclose(sample["mask"].sum(0), torch.ones(SHAPE))
    whole = data.dataset("val")[0]
    assert np.array_equal(whole["original_mask"].numpy(), maps.sum(0) >= 2)
    assert np.array_equal(whole["original_raters"].numpy(), maps)  # each is scored against too
    padded = ImageFolder(root=str(tmp_path), masks=patterns, size="native", divisor=64, patch_size=[64, 64])
    padded.setup("fit")
    mask = padded.dataset("train")[1]["mask"]  # augmented, and padded with voxels that do not count
    assert set(mask.sum(0).round(decimals=5).unique().tolist()) <= {0.0, 1.0}
    assert (mask.sum(0) == 0).any()


def several(tmp_path, **kwargs):
    patterns = [f"rater{rater}/{{name}}.png" for rater in range(3)]
    kwargs = {"size": "native", "divisor": 1, "batch_size": 2, "split_sizes": [2, 1, 1]} | kwargs
    data = ImageFolder(root=str(tmp_path), masks=patterns, patches_per_case=30, **kwargs)
    data.setup()
    return data


def train_masks(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return torch.cat([batch["mask"] for batch in loader])


def test_the_first_rater_alone_is_trained_on_and_all_are_scored_against(tmp_path):
    maps = torch.from_numpy(raters(tmp_path))
    data = several(tmp_path, raters="first", augment=False)
    masks = train_masks(data)
    assert masks.dtype == torch.uint8
    assert torch.equal(masks.bool(), maps[:1].expand_as(masks))
    assert torch.equal(data.dataset("test")[0]["original_raters"].bool(), maps)


def test_one_rater_is_drawn_a_step(tmp_path):
    maps = torch.from_numpy(raters(tmp_path))
    data = several(tmp_path, raters="draw", augment=False)
    masks = train_masks(data)
    assert masks.shape == (60, *SHAPE)
    assert masks.dtype == torch.uint8
    drawn = [[bool((one == own).all()) for own in maps] for one in masks]
    assert all(sum(row) == 1 for row in drawn)
    counts = torch.tensor(drawn).sum(0)
    assert counts.min() >= 10  # of 60, 20 each in expectation: fewer than 10 once in 1,000 seeds
    again = several(tmp_path, raters="draw", augment=False, num_workers=2, batch_size=3)
    assert torch.equal(train_masks(again), masks)
    assert not torch.equal(train_masks(data, epoch=1), masks)
    assert not torch.equal(train_masks(several(tmp_path, raters="draw", augment=False, seed=1)), masks)
    for subset in ("val", "test"):
        assert torch.allclose(data.dataset(subset)[0]["mask"][1], maps.float().mean(0))


def test_a_drawn_rater_is_one_of_the_mean_of_the_same_image(tmp_path):
    raters(tmp_path)
    mean, drawn = (several(tmp_path, raters=how, patch_size=[24, 24]).dataset("train") for how in ("mean", "draw"))
    for number in range(2):
        soft, hard = mean[number], drawn[number]
        assert torch.equal(soft["image"], hard["image"])
        sure = soft["mask"].max(0).values == 1
        assert torch.equal(hard["mask"][sure].long(), soft["mask"].argmax(0)[sure])


def test_a_rater_is_not_drawn_of_one(tmp_path):
    with pytest.raises(
        DataError, match=r"raters='draw' with one rater, masks='masks/\{name\}.png': give masks as a list"
    ):
        ImageFolder(root=str(tmp_path), masks="masks/{name}.png", raters="draw")
    with pytest.raises(DataError, match="with one rater"):
        ImageFolder(root=str(tmp_path), masks=["masks/{name}.png"], raters="draw")
    with pytest.raises(DataError, match="raters='vote': use mean, draw, first"):
        ImageFolder(root=str(tmp_path), raters="vote")


@pytest.mark.parametrize("how", ["mean", "draw"])
@pytest.mark.usefixtures("unpainted_here")
def test_training_on_several_raters(tmp_path, how):
    from lightning_app.cli import main

    raters(tmp_path)
    args = ["fit", "--data=datamodules.ImageFolder", f"--data.root={tmp_path}", "--data.size=[32,32]"]
    args += ["--data.masks=['rater0/{name}.png','rater1/{name}.png','rater2/{name}.png']", "--data.split_sizes=[2,1,1]"]
    args += [f"--data.raters={how}"]
    args += ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", "--trainer.max_epochs=1"]
    args += ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    main([*args, f"--runs_dir={tmp_path / 'runs'}", "--run_name=a"])
    with pytest.raises(DataError, match="quote each pattern"):
        ImageFolder(masks="[a/{name}.png,b/{name}.png]")
    assert (tmp_path / "runs/a/val/per_case.csv").is_file()


# Images of another aspect


@pytest.mark.parametrize(("fit", "share"), [("stretch", 1.0), ("pad", 2 / 3), ("crop", 1.0)])
def test_images_keep_their_aspect_where_asked_and_come_back(tmp_path, fit, share):
    for number in range(3):
        pair(tmp_path, f"images/{number}.png", f"masks/{number}.png", seed=number)
    data = ImageFolder(root=str(tmp_path), size=[48, 48], fit=fit, split_sizes=[1, 1, 1])
    data.setup()
    sample = data.dataset("val")[0]
    assert sample["image"].shape == (3, 48, 48)
    assert (sample["mask"] != 255).float().mean() == pytest.approx(share, abs=0.02)
    rows, columns = (torch.where((sample["mask"] == 1).any(axis))[0] for axis in (1, 0))
    ratio = (rows.max() - rows.min() + 1) / (columns.max() - columns.min() + 1)
    assert float(ratio) == pytest.approx(12 / 20 * (1.5 if fit == "stretch" else 1), rel=0.1)
    labels = sample["mask"].where(sample["mask"] != 255, 0).long()
    back = sample["geometry"].restore(torch.nn.functional.one_hot(labels, 2).movedim(-1, 0).float()).argmax(0)
    assert (back == sample["original_mask"]).float().mean() > 0.97
    told = remarks(data, list(verify(data)))
    assert any("squeezed" in line for line in told) == (fit == "stretch")


# nnU-Net and the Decathlon

CUBE = np.zeros((12, 10, 8), np.uint8)
CUBE[3:8, 3:8, 2:6] = 1


def volume(path, seed, shape=CUBE.shape):
    save_volume(path, np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32))


def nnunet(root, count=4, facts=None, suffix="_0000", channels=1):
    for number in range(count):
        for channel in range(channels):
            end = f"_{channel:04d}" if suffix else ""
            volume(root / f"imagesTr/c{number}{end}.nii.gz", 10 * number + channel)
        save_volume(root / f"labelsTr/c{number}.nii.gz", CUBE)
    standard = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(facts or standard))
    return str(root)


def test_both_versions_of_dataset_json_and_endings_without_dot_or_absent(tmp_path):
    first = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "a"}, "training": []}
    for number, facts in enumerate([first, {**first, "file_ending": "nii.gz"}]):
        for suffix in ("_0000", ""):
            root = nnunet(tmp_path / f"{number}{suffix}", facts=facts, suffix=suffix)
            data = NNUNetRaw(root=root)
            data.setup()
            assert (data.class_names, len(data.split_table())) == (("background", "a"), 4)


def test_a_byte_order_mark_and_endings_in_capitals_are_read(tmp_path):
    root = nnunet(tmp_path)
    path = tmp_path / "dataset.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    for file in sorted(tmp_path.glob("*Tr/*.nii.gz")):
        file.rename(file.with_name(file.name.replace(".nii.gz", ".NII.GZ")))
    data = NNUNetRaw(root=root)
    data.setup()
    assert len(data.split_table()) == 4
    assert data.dataset("test")[0]["mask"].any()


def test_a_label_beyond_what_floats_hold_is_named(tmp_path):
    root = nnunet(tmp_path)
    save_volume(tmp_path / "labelsTr/c0.nii.gz", np.where(CUBE > 0, 1e20, 0).astype(np.float32))
    with pytest.raises(DataError, match=r"c0\.nii\.gz: mask value 1e\+20 is no label"):
        NNUNetRaw(root=root).setup()


def test_cases_that_dataset_json_lists_lie_anywhere(tmp_path):
    listed = {}
    for number in range(3):
        volume(tmp_path / f"img/{number}.nii.gz", number)
        save_volume(tmp_path / f"lab/{number}.nii.gz", CUBE)
        listed[f"c{number}"] = {"images": [f"img/{number}.nii.gz"], "label": f"lab/{number}.nii.gz"}
    facts = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts | {"dataset": listed}))
    data = NNUNetRaw(root=str(tmp_path))
    data.setup()
    assert {row["case"] for row in data.split_table()} == {"c0", "c1", "c2"}


def test_labelled_test_images_are_the_test_set_and_splits_final_the_folds(tmp_path):
    root = nnunet(tmp_path)
    for number in (7, 8):
        volume(tmp_path / f"imagesTs/t{number}_0000.nii.gz", number)
        save_volume(tmp_path / f"labelsTs/t{number}.nii.gz", CUBE)
    data = NNUNetRaw(root=root)
    data.setup()
    assert {case.name for case in data.subsets["test"]} == {"t7", "t8"}
    folds = [{"train": ["c0", "c1", "c2"], "val": ["c3"]}, {"train": ["c1", "c2", "c3"], "val": ["c0"]}]
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps(folds))
    for fold in (None, 1):
        data = NNUNetRaw(root=root, split=str(path), fold=fold)
        data.setup()
        found = {subset: [case.name for case in cases] for subset, cases in data.subsets.items()}
        assert found == {**folds[fold or 0], "test": ["t7", "t8"]}
    with pytest.raises(DataError, match=r"has folds 0\.\.1"):
        NNUNetRaw(root=root, split=str(path), fold=2).setup()


def test_a_missing_folder_of_labels_and_new_images_without_a_channel_number(tmp_path):
    root = nnunet(tmp_path)
    volume(tmp_path / "new/x.nii.gz", 1)
    volume(tmp_path / "new/y_0000.nii.gz", 2)
    volume(tmp_path / "new/patient_0003.nii.gz", 3)
    data = NNUNetRaw(root=root, predict_root=str(tmp_path / "new"))
    data.setup("predict")
    assert {case.name for case in data.new_cases} == {"x", "y", "patient_0003"}
    volume(tmp_path / "new/y.nii.gz", 2)
    with pytest.raises(DataError, match=r"case 'y'"):
        data.setup("predict")
    (tmp_path / "labelsTr").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="holds no folder labelsTr") as caught:
        NNUNetRaw(root=root).setup()
    assert "\n" not in str(caught.value)


def test_channels_called_ct_are_normalised_by_the_fingerprint_others_by_their_own_mean(tmp_path):
    facts = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    data = NNUNetRaw(
        root=nnunet(tmp_path, facts=facts, channels=2), split_sizes=[2, 1, 1], cache_dir=str(tmp_path / "c")
    )
    data.setup()
    assert data.methods() == ("fingerprint", "zscore")
    inside = [
        data.reader().read(case).image[0][CUBE == 1].astype(np.float64) for case in data.subsets["train"]
    ]  # nnU-Net's numbers, by hand
    low, high = np.percentile(np.concatenate(inside), [0.5, 99.5])
    values = np.concatenate(inside).clip(low, high)
    case = data.subsets["test"][0]
    raw = data.reader().read(case).image
    prepared = data.make_pipeline().prepare(case).image.transpose(0, 3, 2, 1)
    assert np.allclose(prepared[0], (raw[0].clip(low, high) - values.mean()) / values.std(), atol=1e-4)
    assert np.allclose(prepared[1], (raw[1] - raw[1].mean()) / raw[1].std(), atol=1e-4)


def test_all_channels_of_an_own_decathlon_task_are_used(tmp_path):
    task = tmp_path / "Task99_Own"
    for number in range(3):
        volume(task / f"imagesTr/c{number}.nii.gz", number, (*CUBE.shape, 3))
        save_volume(task / f"labelsTr/c{number}.nii.gz", 4 * CUBE)
    with pytest.raises(DataError, match=r"Task99_Own.*Give classes"):
        Decathlon(root=str(tmp_path), task="Task99_Own")
    listed = {"modality": {"0": "FLAIR", "1": "T1", "2": "T2"}, "labels": {"0": "background", "4": "lesion"}}
    (task / "dataset.json").write_text(json.dumps(listed))
    data = Decathlon(root=str(tmp_path), task="Task99_Own", patch_size=[8, 8, 8], split_sizes=[1, 1, 1])
    data.setup()
    assert (data.in_channels, data.class_names, data.label_values) == (3, ("background", "lesion"), (0, 4))
    assert data.dataset("val")[0]["image"].shape[0] == 3
    assert Decathlon(root=str(tmp_path), task="Task99_Own", channels=[0, 2]).in_channels == 2
    with pytest.raises(DataError, match=r"channels=\[3\]: Task99_Own has the channels 0 to 2"):
        Decathlon(root=str(tmp_path), task="Task99_Own", channels=[3])


@pytest.mark.parametrize("slices", [False, True], ids=["volumes", "slices"])
def test_training_and_tiles_fill_up_with_one_value(tmp_path, slices):
    """A patch of training around a whole case is what a tile of that size sees of it."""
    from models import SlidingWindow

    size = [24, 24] if slices else [24, 24, 24]
    root = nnunet(tmp_path)
    common = {"root": root, "split_sizes": [4, 0, 0], "augment": False, "slices": slices, "divisor": 1}
    data = NNUNetRaw(**common, patch_size=size)
    data.setup()
    patch = data.dataset("train")[0]["image"][None]
    data.subsets["val"] = data.subsets["train"]
    seen = []
    window = SlidingWindow(size)
    window.pad_as(data.padding)
    for whole in data.dataset("val"):
        window(whole["image"][None], lambda tiles: seen.append(tiles) or tiles)
    assert any(torch.equal(patch, tile) for tile in seen)
