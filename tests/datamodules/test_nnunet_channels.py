"""Images in nnU-Net's form: each channel is a file of its own, or all are one file."""

import json

import numpy as np
import pytest

from datamodules import DataError, NNUNetRaw
from tests.data.common import save_image


def folder(root, channels=3, cases=4):
    for number in range(cases):
        for channel in range(channels):
            values = np.random.default_rng([number, channel]).integers(0, 255, (16, 16)).astype(np.uint8)
            save_image(root / f"imagesTr/c{number}_{channel:04d}.png", values)
        save_image(root / f"labelsTr/c{number}.png", np.eye(16, dtype=np.uint8))
    names = {str(channel): f"m{channel}" for channel in range(channels)}
    facts = {"channel_names": names, "labels": {"background": 0, "line": 1}, "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(facts))
    return root


@pytest.mark.parametrize("missing", [(2,), (1,), (1, 2)])
def test_a_channel_that_is_missing_is_named_and_not_the_first_one_copied(tmp_path, missing):
    root = folder(tmp_path)
    assert [len(case.images) for case in NNUNetRaw(root=str(root)).find_cases()] == [3, 3, 3, 3]
    (root / "new").mkdir()
    for path in (root / "imagesTr").iterdir():
        (root / "new" / path.name).write_bytes(path.read_bytes())
    for part in ("imagesTr", "new"):
        for channel in missing:
            (root / part / f"c2_{channel:04d}.png").unlink()
    with pytest.raises(DataError, match=rf"imagesTr/c2_{missing[0]:04d}\.png: does not exist"):
        NNUNetRaw(root=str(root)).find_cases()
    with pytest.raises(DataError, match=rf"new/c2_{missing[0]:04d}\.png: does not exist"):
        NNUNetRaw(root=str(root)).find_new_cases(root / "new")


def test_all_channels_in_one_file_are_read_as_before(tmp_path):
    root = folder(tmp_path, channels=1)
    colours = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    for path in (root / "imagesTr").iterdir():
        save_image(path, colours)
    facts = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(facts | {"channel_names": {"0": "R", "1": "G", "2": "B"}}))
    data = NNUNetRaw(root=str(root))
    (case, *_) = data.find_cases()
    assert np.array_equal(data.make_pipeline().read_image(case), colours)
