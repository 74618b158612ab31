"""Reliability diagrams of a stage."""

import torch

import metrics
from lightning_app.files import read_csv
from lightning_app.training import figures
from lightning_app.training.evaluation import write_stage

CLASSES = ["background", "organ"]


def test_a_stages_diagrams_write_the_intervals_that_stand_in_its_summary(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "publish", lambda figure, path, *rest: drawn.update({path.stem: figure}))
    monkeypatch.setattr(figures, "publish_curve", lambda *given: None)
    cases = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        probs = (3 * torch.randn(2, 40, 40, generator=generator)).softmax(0)
        target = torch.randint(2, (40, 40), generator=generator)
        cases.append((f"case {seed}", metrics.score_case(probs, target, objects=metrics.ObjectRule())))
    pooled = metrics.merge_sums([sums for _, sums in cases]).channels
    write_stage(tmp_path, cases, pooled, CLASSES)
    figures.draw_diagrams(cases, pooled, CLASSES, tmp_path, [], 0)
    rows = [row for row in read_csv(tmp_path / "summary.csv") if row["class"] == "all"]
    ends = {row["metric"]: (row["low"], row["high"]) for row in rows}
    names = {"ece": "all_top_label", "ece_boundary": "boundary_top_label", "ece_foreground": "all_foreground"}
    for number, name in (names | {"object_ece": "all_object"}).items():
        low, high = map(float, ends[f"{number}_pooled"])
        assert f"[{low:.4f}, {high:.4f}]" in drawn[f"reliability_{name}"].axes[0].get_title()
