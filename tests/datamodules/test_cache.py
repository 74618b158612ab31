"""Prepared volumes on disk: equal to those in memory, safe against kills, changes and several processes."""

import json
import os
import time

import numpy as np
import pytest
import torch

from datamodules import DataError, Decathlon, readers
from datamodules.cache import VolumeCache, entry_key
from datamodules.case import Case
from lightning_app.training.split import digest
from tests.data.decathlon.make import make
from tests.processes import context


def build(root, cache, **more):
    data = Decathlon(root=str(root), cache=cache, cache_dir=str(root / "cache"), split_sizes=[4, 1, 1], **more)
    data.setup()
    return data


def entries(root):
    return sorted(path.parent for path in (root / "cache").rglob("entry.json"))


@pytest.fixture
def root(tmp_path):
    return make(tmp_path, count=6)


def test_disk_and_memory_give_the_same_samples(root):
    samples = [
        list(build(root, cache, spacing=[2.0, 1.0, 1.0]).dataset("train")) for cache in ("memory", "disk", "disk")
    ]
    for one, two, three in zip(*samples, strict=True):
        for key in ("image", "mask", "affine", "spacing"):
            assert torch.equal(one[key], two[key])
            assert torch.equal(one[key], three[key])
    assert len(entries(root)) == 4


def test_whole_cases_from_disk_have_their_geometry(root):
    (one,), (two,) = (list(build(root, cache).dataset("test")) for cache in ("memory", "disk"))
    assert one["geometry"].original_shape == two["geometry"].original_shape
    assert torch.equal(one["original_mask"], two["original_mask"])
    assert np.allclose(one["geometry"].grid_affine(), two["geometry"].grid_affine())


def test_a_changed_file_or_parameter_makes_a_new_entry(root):
    data = build(root, "disk")
    case, preparation = data.subsets["train"][0], data.preparation()
    first = entry_key(case, preparation)
    assert first == entry_key(case, preparation)
    os.utime(case.images[0], ns=(1, 1))
    assert entry_key(case, preparation) != first
    other = build(root, "disk", clip=[0.0, 50.0])
    assert entry_key(case, other.preparation()) != entry_key(case, preparation)


@pytest.mark.parametrize("damage", ["truncate", "flip", "middle", "foreground", "remove", "json"])
def test_a_damaged_entry_is_noticed_and_made_again(root, damage):
    good = build(root, "disk").dataset("test")[0]["image"]
    (entry,) = entries(root)
    path = entry / "image.npy"
    data = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(data[:-10])
    elif damage == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "middle":
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    elif damage == "foreground":
        other = entry / "foreground.npy"
        other.write_bytes(other.read_bytes()[:-8] + bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    elif damage == "remove":
        path.unlink()
    else:
        (entry / "entry.json").write_text("{")
    assert torch.equal(build(root, "disk").dataset("test")[0]["image"], good)
    assert len(entries(root)) == 1


def test_the_whole_of_an_entry_is_checked_and_once_as_long_as_it_stays(root, monkeypatch):
    import datamodules.cache

    data = build(root, "disk")
    cases = data.subsets["train"]
    pipeline = data.make_pipeline()
    pipeline.storage.max_open = 1
    for case in cases:
        pipeline.prepare(case)
    read = []
    monkeypatch.setattr(datamodules.cache, "_checksum", lambda path: read.append(path) or (0, 0))
    for case in cases * 2:
        pipeline.prepare(case)
    assert read == []
    monkeypatch.undo()
    large = np.zeros(3 << 20, np.uint8)
    np.save(root / "large.npy", large)
    before = datamodules.cache._checksum(root / "large.npy")
    large[len(large) // 2] = 1
    np.save(root / "large.npy", large)
    assert datamodules.cache._checksum(root / "large.npy") != before


def test_a_file_put_in_its_place_with_the_old_time_and_size_is_another(root):
    data = build(root, "disk")
    case = data.subsets["train"][0]
    path, first = case.images[0], entry_key(case, 0)
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert entry_key(case, 0) != first


def test_leftovers_of_killed_processes_are_never_read_and_go_away(root):
    leftover = root / "cache" / "part-dead"
    leftover.mkdir(parents=True)
    (leftover / "image.npy").write_bytes(b"half")
    young = root / "cache" / "part-young"
    young.mkdir()
    os.utime(leftover, (time.time() - 1e6,) * 2)
    build(root, "disk").dataset("test")[0]
    assert not leftover.exists()
    assert young.exists()


def test_nothing_half_written_stays_when_preparing_fails(root):
    from tests.data.common import save_volume

    data = build(root, "disk")
    path = data.subsets["test"][0].images[0]
    save_volume(path, np.full((3, 3, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        data.dataset("test")[0]
    assert not list((root / "cache").rglob("*.npy"))


def test_room_is_checked_before_writing(root, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10))
    with pytest.raises(DataError, match="GB are needed"):
        build(root, "disk").dataset("test")


def test_size_is_known_before_it_is_written(root):
    data = build(root, "disk", spacing=[2.0, 1.0, 1.0])
    expected = sum(data.prepared_bytes(case, data.preparation()) for case in data.subsets["train"])
    list(data.dataset("train"))
    written = sum(path.stat().st_size for path in (root / "cache").rglob("*.npy") if path.name != "foreground.npy")
    assert 0 <= written - expected < 4 * 2 * 200


def test_auto_takes_memory_while_it_fits(root):
    assert not isinstance(build(root, "auto").make_pipeline().storage, VolumeCache)
    assert isinstance(build(root, "auto", memory_limit=1000).make_pipeline().storage, VolumeCache)


def test_open_maps_are_bounded(root):
    data = build(root, "disk")
    pipeline = data.make_pipeline()
    pipeline.storage.max_open = 2
    for case in data.subsets["train"]:
        pipeline.prepare(case)
    assert len(pipeline.storage._open) == 2


def prepare_all(rank, root, queue):
    data = build(root, "disk")
    queue.put([float(sample["image"].sum()) for sample in data.dataset("train")])


def test_two_processes_fill_one_cache(root):
    server = context()
    queue = server.SimpleQueue()
    workers = [server.Process(target=prepare_all, args=(rank, root, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    sums = [queue.get() for _ in workers]
    for worker in workers:
        worker.join(60)
    assert sums[0] == sums[1]
    assert len(entries(root)) == 4
    assert not list((root / "cache").glob("part-*"))


def test_fingerprint_is_measured_on_training_cases_and_kept(root):
    data = build(root, "memory", normalisation="fingerprint", spacing="fingerprint")
    found = data.fingerprint()
    assert found.spacing == (1.0, 1.0, 1.0)
    ((low, high),) = found.bounds
    assert 100 <= low < found.mean[0] < high <= 160
    preparation = data.preparation()
    assert (preparation.bounds, preparation.mean) == (found.bounds, found.mean)
    (stored,) = (root / "cache" / "fingerprints").iterdir()
    assert json.loads(stored.read_text())["mean"] == list(found.mean)
    image = data.dataset("test")[0]
    inside = torch.isin(image["mask"], torch.tensor([1, 2]))
    assert abs(image["image"][0][inside].mean()) < 0.5
    elsewhere = Decathlon(root=str(root), normalisation="fingerprint", spacing="fingerprint")  # has no training case
    elsewhere.load_state_dict(json.loads(json.dumps(data.state_dict())))
    assert elsewhere.preparation() == preparation


def _nrrd(folder, names, field):
    voxels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)  # z y x
    for name, some in zip(names, np.array_split(voxels, len(names)), strict=True):
        (folder / name).write_bytes(some.tobytes())
    lines = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 4 3 2", "encoding: raw", field]
    (folder / "a.nhdr").write_text("\n".join([*lines, ""]))
    return folder / "a.nhdr", [folder / name for name in names]


def _stack(folder, name, note, text):
    import tifffile

    tifffile.imwrite(folder / name, np.zeros((2, 3, 4), np.uint8), photometric="minisblack")
    (folder / note).write_text(text)
    return folder / name, [folder / note]


def _analyze(folder, ending):
    import nibabel

    nibabel.save(nibabel.Nifti1Pair(np.zeros((4, 3, 2), np.uint8), np.eye(4)), folder / "small.hdr")
    for old, new in ((".hdr", ".HDR"), (".img", ".IMG")):
        (folder / f"small{old}").rename(folder / f"A{new}")
    other = ".IMG" if ending == ".HDR" else ".HDR"
    return folder / f"A{ending}", [folder / f"A{other}"]


SPACING = json.dumps({"spacing": [3, 2, 1]})
SOURCES = {
    "one file of voxels": lambda folder: _nrrd(folder, ["a b.raw"], "data file: a b.raw"),
    "one file of voxels below": lambda folder: _nrrd(folder, ["a.raw"], "datafile: ./a.raw"),
    "a list of files": lambda folder: _nrrd(folder, ["x.raw", "y.raw"], "data file: LIST\nx.raw\ny.raw"),
    "numbered files": lambda folder: _nrrd(folder, ["s01.raw", "s02.raw"], "data file: s%02d.raw 1 2 1"),
    "spacing beside": lambda folder: _stack(folder, "a.tif", "a.json", SPACING),
    "spacing of the case beside": lambda folder: _stack(folder, "a_0001.tif", "a.json", SPACING),
    "voxels in capitals": lambda folder: _analyze(folder, ".HDR"),
    "header in capitals": lambda folder: _analyze(folder, ".IMG"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_change_of_any_file_that_a_volume_is_read_from_makes_a_new_entry_and_digest(tmp_path, kind):
    path, others = SOURCES[kind](tmp_path)
    if path.suffix == ".nhdr":
        pytest.importorskip("SimpleITK")
    assert readers.read_volume(path).array.shape == (4, 3, 2)
    case = Case("a", (path,))
    for other in others:
        key, content = entry_key(case, None), digest(case)
        assert (entry_key(case, None), digest(case)) == (key, content)
        other.write_bytes(other.read_bytes().replace(b"3", b"4") + b" ")
        assert entry_key(case, None) != key
        assert digest(case) != content


def test_a_file_beside_a_picture_that_tells_no_spacing_is_no_part_of_it(tmp_path):
    path, _ = _stack(tmp_path, "a.tif", "a.json", json.dumps({"shapes": []}))
    assert readers.parts(path) == (path,)
    (tmp_path / "gone.nhdr").write_text("NRRD0004\ndata file: gone.raw\n")
    with pytest.raises(DataError, match=r"gone\.raw: does not exist"):
        entry_key(Case("a", (tmp_path / "gone.nhdr",)), None)
