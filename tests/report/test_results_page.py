"""Result pages: what `benchmarks.results` writes into them, held against the runs and the page's statistics."""

import re

import numpy as np
import pytest

import metrics
from benchmarks.results import main
from lightning_app.errors import UserError
from lightning_app.report.compare import Comparison
from lightning_app.report.read import find_runs
from tests.report.fakes import make_run

PAGE = """# Words that stay

<!-- facts drive -->
old
<!-- end -->
between
<!-- summary drive: dice nll -->
<!-- end -->
<!-- against DSC++ drive: dice nll -->
<!-- end -->
<!-- means drive: nll dice; DSC++ -->
<!-- end -->
<!-- pairs drive: nll -->
<!-- end -->
<!-- rates rates.csv -->
<!-- end -->
<!-- posthoc posthoc.csv x -->
<!-- end -->
<!-- posthoc posthoc.csv -->
<!-- end -->
<!-- shifted shifted.csv -->
<!-- end -->
<!-- shifted shifted.csv each -->
<!-- end -->
<!-- drift drift.csv -->
<!-- end -->
<!-- drift drift.csv promises -->
<!-- end -->
<!-- paper dscpp_layout drive -->
<!-- end -->
<!-- figure overview figures/overview.svg drive -->
<!-- end -->
"""
RATES = "data,loss,lr,val_dice,val_nll,chosen,run\nx,A,0.1,0.5,0.25,no,a\nx,A,0.01,0.75,0.125,yes,b\n"
POSTHOC = """data,loss,method,fitted,dice,ece_pooled,ece_classwise_pooled,nll_pooled
x,DiceLoss,none,cross,0.5,0.04,0.05,0.4
x,DiceLoss,histogram,cross,0.4,0.01,0.02,0.1
y,DiceLoss,none,cross,0.7,0.01,0.02,0.2
y,DiceLoss,histogram,cross,0.7,0.04,0.05,0.1
"""

SHIFTED = """data,loss,method,tested,ece_pooled,nll_pooled
x,DiceLoss,none,own,0.04,0.4
x,DiceLoss,none,stare,0.08,0.8
x,DiceLoss,vector,own,0.01,0.1
x,DiceLoss,vector,stare,0.16,0.4
"""


def drift_csv():
    """A network whose 24 cases at home are one draw, and that misses more on another set and under damage."""
    rng = np.random.default_rng(0)
    lines = ["run,data,loss,condition,level,case,missed,expected_dice,uncertain_share,share,entropy"]
    conditions = {
        ("promise", "0"): (0.02, 0),
        ("own", "0"): (0.04, 0),
        ("other", ""): (0.5, 9),
        ("noise", "3"): (0.3, 0),
    }
    for (condition, level), (missed, shift) in conditions.items():
        for case in range(12):
            share = rng.normal() + shift
            lines.append(
                f"r,x,DSC,{condition},{level},{case},{missed if case else ''},0.5,{share},1,{'' if case else 2}"
            )
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for loss, sharpness in (("DicePlusPlusLoss", 1.0), ("DiceLoss", 4.0)):
        for seed in (0, 1):
            make_run(folder / "runs" / "drive" / f"{loss}-{seed}", loss, seed=seed, sharpness=sharpness)
    (folder / "runs" / "rates.csv").write_text(RATES)
    (folder / "runs" / "posthoc.csv").write_text(POSTHOC)
    (folder / "runs" / "shifted.csv").write_text(SHIFTED)
    (folder / "runs" / "drift.csv").write_text(drift_csv())
    (folder / "page.md").write_text(PAGE)
    main([str(folder / "page.md"), "--runs_dir", str(folder / "runs")])
    return folder / "page.md"


def test_means_and_differences_are_those_of_the_cases(page):
    text = page.read_text()
    by_loss = {}
    for run in find_runs([page.parent / "runs" / "drive"]):
        scores = {case.name: case.scores["nll", "all"] for case in run.cases("test")}
        by_loss.setdefault(run.loss, []).append([scores[name] for name in sorted(scores)])
    for loss, values in by_loss.items():
        assert re.search(rf"\| {re.escape(loss)} \| \w+ \| 8 \| 2 \| [^|]*\| {np.mean(values):.4f} ± ", text)
    assert f"| NLL ↓, Dice ↑ | Phantom |\n| --- | --- |\n| DSC++ | {np.mean(by_loss['DSC++']):.3f}, " in text
    difference = np.mean(by_loss["DSC++"]) - np.mean(by_loss["DSC"])
    low, high = metrics.difference_interval(np.array(by_loss["DSC++"]), np.array(by_loss["DSC"]))
    assert f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]" in text
    assert re.search(r"DSC\+\+ less DSC .*: better \|", text)


def test_facts_rates_and_pictures(page):
    text = page.read_text()
    assert "4 trained networks, 4 evaluations; test cases: Phantom 8; seeds 0, 1; commit 0123abc; torch 2.15" in text
    assert f"{4 * 12.5 / 3600:.1f} hours of training in all, median 12 s a network" in text
    assert "| DSC to DSC++ | 1 of 1 (1 better, 0 worse) |" in text
    assert "| x | A | **0.7500, 0.1250** | 0.5000, 0.2500 |" in text
    assert "![" in text
    assert (page.parent / "figures" / "overview.svg").read_text().startswith("<?xml")


def test_a_table_in_a_papers_layout_holds_half_of_the_interval(page):
    text = page.read_text()
    found = re.search(r"\| Phantom \| DSC\+\+ \| ([0-9.]+) ± ([0-9.]+) \|", text)
    comparison = Comparison(find_runs([page.parent / "runs" / "drive"]))
    cell = comparison.cell("Phantom", "DSC++", "nll")
    assert float(found[1]) == pytest.approx(cell.mean, abs=5e-5)
    assert float(found[2]) == pytest.approx((cell.high - cell.low) / 2, abs=5e-5)


def test_words_stay_and_a_second_pass_changes_nothing(page):
    text = page.read_text()
    assert text.startswith("# Words that stay\n")
    assert "\nbetween\n" in text
    assert "old" not in text
    main([str(page), "--runs_dir", str(page.parent / "runs")])
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("against DSD++ drive: dice", "there are DSC"),
        ("figure nothing x.svg drive", "overview"),
        ("paper mbls_layout drive", "there are dscpp_layout"),
        ("means drive: nll; DSD", "there are DSC"),
        ("", "no block"),
    ],
)
def test_what_is_not_there_is_refused_and_the_page_stays(page, tmp_path, block, why):
    path = tmp_path / "page.md"
    path.write_text(f"<!-- {block} -->\nold\n<!-- end -->\n")
    with pytest.raises(UserError, match=re.escape(why)):
        main([str(path), "--runs_dir", str(page.parent / "runs")])
    assert "old" in path.read_text()


OLD = {
    "facts": "facts gone", "summary": "summary gone: dice", "against": "against DSC++ gone: dice",
    "means": "means gone: dice; DSC", "rates": "rates gone.csv x", "figure": "figure overview x.svg gone",
    "gpu": "gpu gone.json", "paper": "paper mbls_layout gone",
}  # fmt: skip


@pytest.mark.parametrize("kind", OLD)
def test_a_block_whose_runs_are_gone_stays_and_that_is_said(page, tmp_path, kind, capsys):
    path, old = tmp_path / "page.md", f"<!-- {OLD[kind]} -->\nold\n<!-- end -->\n"
    path.write_text(f"{old}<!-- facts drive -->\n<!-- end -->\n")
    main([str(path), "--runs_dir", str(page.parent / "runs")])
    assert path.read_text().startswith(old)
    assert "4 trained networks" in path.read_text()
    assert f"its runs are not here: {OLD[kind]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ("<!-- facts drive gone -->\n<!-- end -->", "there is no gone in"),
        (f"<!-- {OLD['rates']} -->\n<!-- end -->", "nothing"),
    ],
)
def test_a_block_of_which_a_part_is_gone_and_a_page_of_which_all_is_are_refused(page, tmp_path, blocks, why):
    path = tmp_path / "page.md"
    path.write_text(blocks)
    with pytest.raises(UserError, match=why):
        main([str(path), "--runs_dir", str(page.parent / "runs")])
    assert path.read_text() == blocks


def test_calibrated_runs_are_methods_of_their_own(tmp_path):
    run = make_run(tmp_path / "a", "DiceLoss")
    folder = find_runs([run])[0].folder
    folder.note_post_hoc("test", {"calibrator": "temperature", "cuts": [0.5, 0.3]})
    comparison = Comparison(find_runs([run, make_run(tmp_path / "b", "DiceLoss")]))
    assert comparison.methods == ["DSC", "DSC + temperature + cut"]


def test_calibrators_are_held_against_none_of_the_same_set(page):
    text = page.read_text()
    assert "| DSC | vector | 0.25 (1 of 1) | 2.00 (0 of 1) | 0.25 (1 of 1) | 0.50 (1 of 1) |" in text
    assert "| x | stare | DSC | none | 0.0400 | 0.0800 | 0.4000 | 0.8000 |" in text
    assert "| histogram | other half | 0.4000 | 0.0100 | 0.0200 | 0.1000 |" in text
    # ECE by a quarter and by four: a geometric mean of 1; NLL by a quarter and a half: the root of an eighth
    assert f"| histogram | other half | -0.0500 | 1.00 (1 of 2) | {0.125**0.5:.2f} (2 of 2) |" in text


def test_warnings_without_labels_stand_beside_promises_that_failed(page):
    text = page.read_text()
    (line,) = re.findall(r"\| x \| DSC \| 12, 12 .*", text)
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    assert cells[3] == "0.040"
    warns, rate = cells[4].split(", ")
    assert warns == "no"
    assert float(rate.removesuffix(" %")) <= 1.5
    assert cells[5] == "12, 0.500"
    assert cells[6].startswith("yes: uncertain share ")
    assert cells[7] == "0.300, 0 of 1"
    rows = {
        row[0]: row[1:]
        for row in (r.strip("| ").split(" | ") for r in re.findall(r"\| (?:at home|other set|dam).*", text))
    }
    assert rows["at home"][:3] == ["0 of 1", "0 of 0", "0 of 0"]
    assert rows["damage 3"][:3] == ["0 of 0", "0 of 1", "0 of 1"]  # fails, and nothing is seen of it
    assert rows["other set"][:3] == ["0 of 0", "1 of 1", "1 of 1"]
    assert rows["other set"][3:] == ["0 %", "100 %", "100 %", "100 %"]  # of three 2 * 4 / C(15, 3) is above 0.01
