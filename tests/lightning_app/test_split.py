"""The split of the training is the law: by names, with what is gone, new or changed told."""

import csv

import numpy as np
import pytest
from PIL import Image

from datamodules import ImageFolder, Phantom
from datamodules.case import Case
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.files import read_csv, write_csv, write_text
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.split import BLOCK, BLOCKS, digest, follow, read_split, record_split, split_rows

pytestmark = pytest.mark.usefixtures("unpainted")

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--trainer.logger=false"]
ALL = ("train", "val", "test")


def put(root, name: str, seed: int) -> None:
    """An image with its mask."""
    rng = np.random.default_rng(seed)
    for part, values in (("images", rng.integers(0, 256, (32, 32))), ("masks", 255 * (rng.random((32, 32)) > 0.5))):
        (root / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint8)).save(root / part / f"{name}.png")


def data(root, **options) -> ImageFolder:
    return ImageFolder(root=str(root), size=[32, 32], **options)


@pytest.fixture
def root(tmp_path):
    for number in range(12):
        put(tmp_path / "set", f"c{number:02d}", number)
    return tmp_path / "set"


@pytest.fixture
def run(tmp_path, root):
    """The record of a run on these images."""
    run = RunFolder(tmp_path / "runs" / "one")
    used = data(root)
    used.setup("fit")
    write_csv(run.split, split_rows(used))
    write_text(run.config, "data: {init_args: {split: null}}\n")
    return run


def subsets(datamodule) -> dict[str, set[str]]:
    return {part: {case.name for case in cases} for part, cases in datamodule.subsets.items()}


def recorded(run) -> dict[str, set[str]]:
    law = read_split(run)
    return {part: {name for name, entry in law.items() if entry.subset == part} for part in ALL}


@pytest.mark.parametrize("new", ["a00", "c05b", "z99"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_new_case_moves_no_other_and_belongs_to_no_part(run, root, capsys, new, seed):
    put(root, new, 99)
    used = data(root, seed=seed)
    follow(used, run, {}, ALL)
    used.setup("test")
    assert subsets(used) == recorded(run)
    assert f"1 cases are new and belong to no part of the split ({new})" in capsys.readouterr().err


def test_cases_that_are_gone_or_changed_are_told(run, root, capsys):
    names = sorted(read_split(run))
    for part in ("images", "masks"):
        (root / part / f"{names[0]}.png").unlink()
    put(root, names[5], 77)
    used = data(root)
    follow(used, run, {}, ALL)
    told = capsys.readouterr().err
    assert f"1 cases are not there any more ({names[0]})" in told
    assert f"1 cases have other contents than when the network was trained ({names[5]})" in told
    assert set().union(*subsets(used).values()) == set(names[1:])


def test_nothing_is_told_where_nothing_changed(run, root, capsys):
    follow(data(root), run, {}, ALL)
    assert capsys.readouterr().err == ""


def test_another_split_that_scores_what_was_trained_on_is_refused(run, root, tmp_path):
    train, test = sorted(recorded(run)["train"]), sorted(recorded(run)["test"])
    mine = tmp_path / "mine.csv"
    write_csv(mine, [{"case": train[0], "subset": "test"}, {"case": train[1], "subset": "train"}])
    with pytest.raises(UserError, match=f"test case {train[0]} is case {train[0]} of the train part"):
        follow(data(root, split=str(mine)), run, {"split": str(mine)}, ("test",))
    write_csv(mine, [{"case": test[0], "subset": "test"}, {"case": train[1], "subset": "train"}])
    fewer = data(root, split=str(mine))
    follow(fewer, run, {"split": str(mine)}, ("test",))
    assert subsets(fewer)["test"] == {test[0]}


def test_another_data_set_keeps_its_own_split_unless_it_holds_the_same_pictures(run, root, tmp_path, capsys):
    for number in range(6):
        put(tmp_path / "other", f"x{number}", 100 + number)
    other = data(tmp_path / "other", split_sizes=[0, 0, 1])
    follow(other, run, {"split_sizes": [0, 0, 1]}, ("test",))
    assert len(subsets(other)["test"]) == 6
    assert "taken for another data set" in capsys.readouterr().err
    name = min(recorded(run)["train"])
    for part in ("images", "masks"):
        (root / part / f"{name}.png").rename(tmp_path / "other" / part / "x0.png")
    with pytest.raises(UserError, match=f"test case x0 is case {name} of the train part"):
        follow(data(tmp_path / "other", split_sizes=[0, 0, 1]), run, {"split_sizes": [0, 0, 1]}, ("test",))


@pytest.mark.parametrize("how", ["link", "copy"])
def test_a_copy_of_a_training_image_in_the_test_part_is_told(root, tmp_path, capsys, how):
    for part in ("images", "masks"):
        source, target = root / part / "c00.png", root / part / "copy.png"
        if how == "link":
            target.symlink_to(source)
        else:
            target.write_bytes(source.read_bytes())
    put(root, "other", 50)
    (root / "masks/copy.png").unlink()
    (root / "masks/copy.png").write_bytes((root / "masks/other.png").read_bytes())  # another outline of the same image
    table = tmp_path / "split.csv"
    for test, told in (("copy", True), ("c02", False)):
        rows = [("c00", "train"), ("c01", "val"), (test, "test")]
        write_csv(table, [{"case": case, "subset": part} for case, part in rows])
        used = data(root, split=str(table))
        used.setup("fit")
        record_split(used, RunFolder(tmp_path / "runs" / test))
        line = "ImageFolder: 1 image is in two parts of the split, as copy (test) that of c00 (train): scores"
        assert (line in capsys.readouterr().err) == told


def test_data_without_files_follow_too(tmp_path):
    run = RunFolder(tmp_path)
    write_text(run.config, "data: {}\n")
    used = Phantom(num_cases=(3, 2, 2))
    used.setup()
    write_csv(run.split, split_rows(used))
    more = Phantom(num_cases=(3, 2, 4))
    follow(more, run, {}, ALL)
    assert subsets(more) == subsets(used)


@pytest.mark.parametrize("size", [100, BLOCK * BLOCKS + 1, 3 * BLOCK * BLOCKS])
def test_a_digest_changes_with_the_start_the_end_and_the_length(tmp_path, size):
    path = tmp_path / "x.nii"
    content = np.zeros(size, np.uint8)
    found = set()
    for place, value in ((0, 0), (0, 1), (size - 1, 1)):
        content[place] = value
        path.write_bytes(content.tobytes())
        found.add(digest(Case("x", (path,))))
    path.write_bytes(content.tobytes() + b"\0")
    found.add(digest(Case("x", (path,))))
    assert len(found) == 4


def test_the_whole_program_follows_and_keeps_the_split(root, tmp_path, capsys):
    folder = ["--data=datamodules.ImageFolder", f"--data.root={root}", "--data.size=[32,32]"]
    net = ["--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2", f"--runs_dir={tmp_path / 'runs'}"]
    run = main(["fit", *QUIET, *net, *folder, "--trainer.max_epochs=1", "--run_name=one"]).run_folder
    before, law = run.split.read_text(), recorded(run)
    put(root, "a00", 99)
    main(["test", *QUIET, f"--ckpt_path={run}"])
    with (run.stage("test") / "per_case.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == law["test"]
    assert "a00" in capsys.readouterr().err
    main(["fit", *QUIET, f"--resume={run}", "--trainer.max_epochs=2"])
    assert run.split.read_text() == before
    assert {row["case"] for row in read_csv(run.stage("val") / "per_case.csv")} == law["val"]
