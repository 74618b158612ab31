"""`benchmarks.gpu` on the CPU: a part that fails leaves the others, and the table stays readable."""

import argparse

from benchmarks import gpu

OPTIONS = argparse.Namespace(device="cpu", classes=3, side=8, rounds=1, tile=32, ct=(40, 32, 32), small=True)


def test_a_part_that_fails_is_written_down_and_the_others_go_on(monkeypatch):
    def broken():
        raise RuntimeError("no room\non this device")

    parts = [({"part": "loss", "name": "broken"}, broken), ({"part": "loss", "name": "sound"}, lambda: {"ms": 1.0})]
    monkeypatch.setattr(gpu, "loss_parts", lambda options, compiled: iter(parts[1:] if compiled else parts[:1]))
    monkeypatch.delenv("SEGMENTATION_DATA", raising=False)
    rows = list(gpu.measured(OPTIONS))
    assert rows[0] == {"part": "loss", "name": "broken", "error": "RuntimeError: no room"}
    assert rows[-1] == {"part": "loss", "name": "sound", "ms": 1.0}
    agreement = ["agreement"] * len(gpu.OURS)
    assert [row["part"] for row in rows] == ["loss", "scorer", "CT", "step", "determinism", *agreement, "loss"]
    assert max(row["off"] for row in rows if row["part"] == "agreement") < 1e-5
    assert [row["error"] for row in rows[1:] if "error" in row] == []
    assert rows[2]["predict_s"] > 0 < rows[2]["score_s"]
    assert rows[4]["same"] is True
    assert gpu.line(rows[-1]) == "| loss | sound |  |  | 1.00 |  |  |  |  |  |  |  |"


def test_runs_stand_beside_each_other():
    row = {"part": "loss", "name": "DiceLoss", "dtype": "float32", "way": "eager"}
    runs = [
        {"rows": [{**row, "ms": 3.0}, {"part": "step", "name": "UNet", "ratio": 1.5}]},
        {"rows": [{**row, "ms": 4.0}]},
    ]
    columns, lines = gpu.table(runs)
    assert columns == ["part", "name", "dtype", "way", "ms", "ratio"]
    assert lines == [["loss", "DiceLoss", "float32", "eager", "3.00, 4.00", ""], ["step", "UNet", "", "", "", "1.50"]]
