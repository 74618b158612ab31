"""Damaged and hostile inputs one by one: each is named in a line, nothing else suffers."""

import contextlib
import io
import os
import shutil
import tarfile
import zipfile
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import lightning_app.training.figures as figures
from datamodules import DataError, ImageFolder
from datamodules.download import unpack
from lightning_app.calibration.registry import restore
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.report.command import main as report
from lightning_app.training.head import Head
from lightning_app.training.run_folder import RunFolder
from lightning_app.wording import of_the_machine
from tests.report.fakes import make_run

FILES = ["config.yaml", "metrics.csv", "command.txt"]
FILES += [f"{stage}/{name}" for stage in ("val", "test") for name in ("per_case.csv", "summary.csv", "bins.npz")]
FILES += ["test/figures/case_best.png"]
BOMB = "\n".join(["a0: &a0 [1, 2]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, unpainted):
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        make_run(folder / f"r{seed}", seed=seed, cases=3)
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory, runs):
    """What one report of whole runs and of each kind of damage to each file says, its page and the damaged files."""
    folder, damaged = tmp_path_factory.mktemp("damaged"), {}
    for number, (name, damage) in enumerate(product(FILES, ("noise", "half"))):
        path = damaged[name, damage] = folder / f"d{number}" / name
        shutil.copytree(runs / "r1", folder / f"d{number}")
        before = path.read_bytes()
        half = before[: len(before) // 2].rstrip(b"\n") + b',"'
        path.write_bytes(b"\xff\xfe\x00{" * 20 if damage == "noise" else half)
    for seed in (0, 2):
        shutil.copytree(runs / f"r{seed}", folder / f"r{seed}")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        report([str(folder), "--out", str(folder / "page.html")])
    return said.getvalue(), (folder / "page.html").read_text(), damaged


@pytest.mark.parametrize("damage", ["noise", "half"])
@pytest.mark.parametrize("name", FILES)
def test_a_report_leaves_a_damaged_run_out_and_names_it(told, name, damage):
    said, _, damaged = told
    path = damaged[name, damage]
    run = path.relative_to(path.parents[len(Path(name).parents)]).parts[0]
    if damage == "half" and f"left out {run}:" not in said:
        assert name in ("metrics.csv", "command.txt")  # a row less, or another text, is no damage
    else:
        assert f"left out {run}: {path}" in said


def test_a_report_beside_damaged_runs_is_whole(told):
    said, page, _ = told
    assert page.rstrip().endswith("</html>")
    assert not {run for run in ("r0", "r2") if f"left out {run}:" in said}


def test_a_report_of_one_damaged_run_says_what_is_wrong(runs):
    path = runs / "r2" / "test" / "bins.npz"
    before = path.read_bytes()
    path.write_bytes(before[:100])
    try:
        with pytest.raises(UserError, match=r"bins\.npz"):
            report([str(runs / "r2"), "--out", str(runs / "page.html")])
    finally:
        path.write_bytes(before)


@pytest.mark.usefixtures("unpainted")
def test_a_report_imports_nothing_that_a_folder_names(tmp_path, monkeypatch, capsys):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs" / "bad", cases=3)
    config = tmp_path / "runs" / "bad" / "config.yaml"
    config.write_text(config.read_text().replace("losses.Dice", "evil.Dice").replace("models.UNet", "evil.UNet"))
    arrays = dict(np.load(tmp_path / "runs" / "bad" / "test" / "bins.npz"))
    make_run(tmp_path / "runs" / "good", cases=3)
    report([str(tmp_path / "runs")])
    assert "left out" not in capsys.readouterr().err
    np.savez(tmp_path / "runs" / "bad" / "test" / "bins.npz", **arrays, extra=np.array([object()], dtype=object))
    report([str(tmp_path / "runs")])
    assert "bins.npz" in capsys.readouterr().err


def test_a_configuration_that_blows_up_leaves_one_run_out(runs, capsys):
    path = runs / "r0" / "config.yaml"
    before = path.read_text()
    path.write_text(f"{BOMB}\n{before}")
    try:
        report([str(runs), "--out", str(runs / "page.html")])
    finally:
        path.write_text(before)
    assert f"left out r0: {path}: its aliases" in capsys.readouterr().err


def zipped(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.txt", content)
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        entry = tarfile.TarInfo("a.txt")
        entry.size = 60_000
        archive.addfile(entry, io.BytesIO(np.random.default_rng(0).bytes(60_000)))
    return buffer.getvalue()


def encrypted(archive: bytes) -> bytes:
    """The flag of encryption set, in both headers."""
    changed = bytearray(archive)
    changed[6] |= 1
    changed[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


def spoilt(archive: bytes) -> bytes:
    middle = len(archive) // 2
    return archive[:middle] + bytes(b ^ 0xA5 for b in archive[middle : middle + 40]) + archive[middle + 40 :]


ARCHIVES = {
    "encrypted": encrypted(zipped(b"secret" * 20)),
    "deflate": spoilt(zipped(np.random.default_rng(0).bytes(5000))),
    "lzma": spoilt(zipped(np.random.default_rng(0).bytes(5000), zipfile.ZIP_LZMA)),
    "bzip2": spoilt(zipped(np.random.default_rng(0).bytes(5000), zipfile.ZIP_BZIP2)),
    "tar.gz": spoilt(tarred("w:gz")),
    "tar.xz": spoilt(tarred("w:xz")),
    "tar.bz2": spoilt(tarred("w:bz2")),
    "cut": tarred("w:gz")[:20_000],
    "text": b"no archive",
    "empty": b"",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_cannot_be_unpacked_is_named_and_leaves_nothing(tmp_path, name):
    path = tmp_path / "a.bin"
    path.write_bytes(ARCHIVES[name])
    with pytest.raises(DataError, match=r"a\.bin: .*(cannot be unpacked|is encrypted)") as caught:
        unpack(path, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_archive_that_nests_too_deep_is_named(tmp_path, monkeypatch):
    def deep(*_args, **_options):
        raise RecursionError("maximum recursion depth exceeded")

    (tmp_path / "a.tar").write_bytes(tarred("w"))
    monkeypatch.setattr(tarfile.TarFile, "extractall", deep)
    with pytest.raises(DataError, match="maximum recursion"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize(
    "record",
    [3, {}, {"method": "temperature"}, {"method": "x", "arguments": {}}, {"method": "temperature", "arguments": 3},
     {"method": "temperature", "arguments": {"num_classes": 2}, "state": {}, "cases": [], "thresholds": []}],
)  # fmt: skip
def test_a_calibrators_record_that_is_damaged_is_told(record):
    with pytest.raises(UserError, match=r"calibrator cannot be read .*: calibrate it again"):
        restore({"calibrator": record})


def test_a_file_name_that_is_no_text_is_named(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        for name in (b"a.png", b"b\xff.png"):
            path = os.path.join(os.fsencode(tmp_path / part), name)
            with open(path, "wb") as file:
                Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "png")
    with pytest.raises(DataError, match=r"b\\xff\.png.*no UTF-8\. Rename it"):
        ImageFolder(root=str(tmp_path), size=[8, 8]).setup()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Bus error. out of shared memory.", "docker run --shm-size"),
        ("unable to write to file </torch_1_2_3>: No space left on device (28)", "--data.num_workers 0"),
        ("DataLoader worker (pid(s) 7) exited: killed by signal: Killed.", "want of memory"),
    ],
)
def test_what_the_machine_refuses_a_worker_is_told_in_words(text, part):
    assert part in of_the_machine(RuntimeError(text))
    assert of_the_machine(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == ""


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["calibrate", "--method=temprature"], ["--method", "temprature", "did you mean temperature", "isotonic"]),
        (["fit", "--model.binary=softmx"], ["--model.binary: there is no softmx; did you mean softmax? choose from"]),
    ],
)
def test_a_choice_that_does_not_exist_lists_the_choices_in_words(capsys, tmp_path, args, parts):
    (tmp_path / "x.ckpt").touch()
    with pytest.raises(SystemExit):
        main([*args, f"--ckpt_path={tmp_path / 'x.ckpt'}", f"--runs_dir={tmp_path}"])
    error = capsys.readouterr().err
    assert all(part in error for part in parts), error
    assert "typing." not in error


@pytest.mark.parametrize("size", [(1, 64, 64, 64), (1, 600, 600)])
def test_pictures_of_a_stage_keep_no_case_alive(tmp_path, size):
    run = RunFolder(tmp_path)
    scored = SimpleNamespace(cases_by_dice=lambda: [f"c{number}" for number in range(5)], bins={})
    callback = figures.StageFigures(run, scored)
    stage = SimpleNamespace(head=Head(["background", "region"]), scorer=SimpleNamespace(cuts=None))
    for number in range(5):
        shape = size[1:]
        mask = torch.randint(0, 2, (1, *shape), dtype=torch.uint8)
        batch = {"image": torch.rand(1, *size), "mask": mask, "case": [f"c{number}"]}
        callback._keep(stage, {"probs": torch.rand(1, 2, *shape)}, batch)
    assert not any(isinstance(shown, dict) for shown in callback.shown.values())
    chosen = callback._chosen()
    assert [shown["case"] for shown in chosen.values()] == ["c0", "c2", "c4"]
    for part in ("image", "truth", "probs"):
        tensor = chosen["best"][part]
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    callback._drop()
    assert not list(tmp_path.iterdir())
