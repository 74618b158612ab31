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
    assert rows[5] == {"part": "loss", "name": "sound", "ms": 1.0}
    assert [row["part"] for row in rows] == ["loss", "scorer", "CT", "step", "determinism", "loss"]
    assert [row["error"] for row in rows[1:] if "error" in row] == []
    assert rows[2]["predict_s"] > 0 < rows[2]["score_s"]
    assert rows[4]["same"] is True
    assert gpu.line(rows[5]) == "| loss | sound |  |  | 1.00 |  |  |  |  |  |  |"
