"""The verb `calibrate`: what it fits on, what it keeps, what it refuses."""

import csv

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image

import losses
import metrics
import models
from datamodules import ImageFolder, Phantom
from lightning_app.calibrate import CalibratingTrainer, calibrator_arguments, validation_cases
from lightning_app.calibration.cuts import best_thresholds
from lightning_app.calibration.registry import build, restore
from lightning_app.calibration.risk import (
    Wish,
    case_odds,
    from_record,
    held_against,
    make_promises,
    promised_labels,
    promised_sets,
    to_record,
)
from lightning_app.calibration.risk import told as promise_told
from lightning_app.cli import main
from lightning_app.report.compare import Comparison
from lightning_app.report.read import find_runs
from lightning_app.training.module import SegmentationModule
from tests.lightning_app.small import SMALL

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec"),
    pytest.mark.usefixtures("unpainted"),
]


def phantom(**arguments) -> Phantom:
    return Phantom(size=32, num_cases=[4, 3, 3], num_workers=0, **arguments)


def module(loss=None) -> SegmentationModule:
    torch.manual_seed(0)
    data = phantom()
    net = models.UNet(2, data.in_channels, data.num_classes, width=4, depth=2)
    return SegmentationModule(net, loss or losses.DicePlusPlusLoss(), num_classes=data.num_classes)


@pytest.fixture
def run(tmp_path):
    """A run folder with the checkpoint of an untrained network, and the split of the training."""
    net, data = module(), phantom()
    data.prepare_data()
    data.setup("fit")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("{}\n")
    rows = [f"{row['case']},{row['subset']}" for row in data.split_table()]
    (tmp_path / "split.csv").write_text("\n".join(["case,subset", *rows]) + "\n")
    torch.save({"state_dict": net.state_dict()}, tmp_path / "checkpoints" / "best.ckpt")
    return tmp_path


def calibrate(run, data=None, loss=None, **arguments):
    path = str(run / "checkpoints" / "best.ckpt")
    return CalibratingTrainer(**QUIET).calibrate(module(loss), data or phantom(), path, **arguments)


@pytest.mark.parametrize(
    ("method", "options"),
    [("temperature", None), ("vector", None), ("histogram", {"num_bins": 5}), ("dicepp_inverse", None),
     ("local_temperature", {"epochs": 1}), ("selective", {"epochs": 1})],
)  # fmt: skip
def test_calibrator_is_kept_with_the_checkpoint_and_comes_back(run, method, options, capsys):
    before = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    report = calibrate(run, method=method, options=options)
    after = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(torch.equal(value, after["state_dict"][name]) for name, value in before["state_dict"].items())
    calibrator, record = restore(after)
    subsets = dict(line.split(",") for line in (run / "split.csv").read_text().splitlines()[1:])
    assert {subsets[case] for case in record["cases"]} == {"val"}
    assert report.voxels == 32 * 32 * list(subsets.values()).count("val")
    assert record["report"]["nll_before"] == pytest.approx(report.nll_before)
    probs = torch.rand(1, 2, 8, 8).softmax(1)
    assert (calibrator(probs, torch.zeros(1, phantom().in_channels, 8, 8)) - probs).abs().max() > 1e-4
    assert "before" in capsys.readouterr().out
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt"]


def test_calibrating_again_starts_from_the_network_itself(run):
    first = calibrate(run, method="vector")
    assert calibrate(run, method="vector").nll_before == pytest.approx(first.nll_before)


def test_no_calibrator_in_a_plain_checkpoint(run):
    assert restore(torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)) is None


def test_split_of_the_training_is_held_against_the_new_one(run):
    split = run / "split.csv"
    split.write_text(split.read_text().replace(",val", ",swap").replace(",test", ",val").replace(",swap", ",test"))
    with pytest.raises(ValueError, match=r"3 validation cases are test cases too.*split of the training"):
        calibrate(run)


def test_case_of_two_parts_is_refused(run):
    data = phantom()
    data.prepare_data()
    data.setup("validate")
    table = data.split_table()
    case = next(row["case"] for row in table if row["subset"] == "val")
    data.split_table = lambda: [*table, {"case": case, "subset": "test"}]
    with pytest.raises(ValueError, match=f"1 validation cases are test cases too, first {case}"):
        validation_cases(data, "elsewhere.ckpt")


def test_loader_that_yields_a_test_case_is_refused(run, monkeypatch):
    monkeypatch.setattr(Phantom, "val_dataloader", Phantom.test_dataloader)
    monkeypatch.setattr(Phantom, "setup", lambda self, stage, setup=Phantom.setup: setup(self, "test"))
    with pytest.raises(ValueError, match="is no validation case"):
        calibrate(run)
    assert restore(torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)) is None


def test_missing_checkpoint_and_several_processes_are_refused(run):
    with pytest.raises(ValueError, match="calibrate needs --ckpt_path"):
        CalibratingTrainer(**QUIET).calibrate(module(), phantom())
    trainer = CalibratingTrainer(**QUIET, devices=2, strategy="ddp")
    with pytest.raises(ValueError, match="one process, not 2"):
        trainer.calibrate(module(), phantom(), "best.ckpt")


def test_inverse_of_dicepp_takes_the_exponent_of_the_loss():
    data = phantom()
    assert calibrator_arguments("dicepp_inverse", {}, module(losses.DicePlusPlusLoss(gamma=3.0)), data)["gamma"] == 3.0
    assert calibrator_arguments("dicepp_inverse", {}, module(losses.DiceLoss(gamma=2, clip=1e-7)), data)["gamma"] == 2.0
    assert calibrator_arguments("dicepp_inverse", {"gamma": 1.5}, module(losses.DiceLoss()), data)["gamma"] == 1.5
    with pytest.raises(ValueError, match=r"trained with CrossEntropyLoss; give --options\.gamma"):
        calibrator_arguments("dicepp_inverse", {}, module(losses.CrossEntropyLoss()), data)


def test_unknown_methods_and_options_are_named():
    with pytest.raises(ValueError, match="method must be one of temperature"):
        build("platt", {"num_classes": 2})
    with pytest.raises(ValueError, match=r"--method vector.*colour"):
        build("vector", {"num_classes": 2, "colour": 1})


class TestThresholds:
    def test_best_cut_of_a_curve_done_by_hand(self):
        probs = torch.tensor([0.905, 0.605, 0.355, 0.305, 0.105])  # labels 1 1 1 0 0: a cut above .305 is perfect
        pair, labels = torch.stack((1 - probs, probs)), torch.tensor([1, 1, 1, 0, 0])
        cuts = best_thresholds([(pair[None], labels[None])])
        assert 0.305 < cuts[1] < 0.355
        assert torch.equal(metrics.threshold_labels(pair, cuts), labels)

    def test_ignored_voxels_and_absent_classes(self):
        probs = torch.tensor([0.905, 0.805, 0.1045])
        cuts = best_thresholds([(torch.stack((1 - probs, probs, 0 * probs))[None], torch.tensor([[1, 255, 0]]))])
        assert 0.1045 < cuts[1] < 0.905
        assert cuts[2] == 0.5

    def test_each_region_has_the_cut_that_it_has_alone(self):
        torch.manual_seed(0)
        probs = torch.rand(4, 3, 50)  # cases, regions, voxels
        cases = [(torch.stack((1 - p, p), 1), (torch.rand(3, 50) < p).long()) for p in probs]
        alone = [best_thresholds([(p[r : r + 1], y[r : r + 1]) for p, y in cases])[1] for r in range(3)]
        assert best_thresholds(cases) == [0.5, *alone]
        assert len(set(alone)) == 3

    def test_class_furthest_above_its_cut_wins(self):
        probs = torch.tensor([[0.5, 0.1, 0.8], [0.3, 0.5, 0.1], [0.2, 0.4, 0.1]])
        assert metrics.threshold_labels(probs, [0.5, 0.25, 0.15]).tolist() == [2, 2, 0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    args = ["fit", *SMALL, "--trainer.max_epochs=1", f"--runs_dir={runs}", "--run_name=a"]
    folder = main(args).run_folder.path
    main(["calibrate", *SMALL, f"--ckpt_path={folder}", "--method=temperature"])
    main(["test", *SMALL, f"--ckpt_path={folder}"])
    return folder


def _summary(path):
    with (path / "test" / "summary.csv").open(newline="") as file:
        return {(row["metric"], row["class"]): float(row["mean"]) for row in csv.DictReader(file) if row["mean"]}


def _test_masks(path):
    """Case -> true mask, as the run's data have them."""
    init = yaml.safe_load((path / "config.yaml").read_text())["data"]["init_args"]
    data = Phantom(**init)
    data.prepare_data()
    data.setup("test")
    return {batch["case"][0]: batch["original_mask"][0].numpy() for batch in data.test_dataloader()}


class TestCommandLine:
    """fit, calibrate, test and predict, once; each test looks at what a user would look at."""

    def test_compares_before_and_after_with_the_same_labels(self, path):
        with (path / "test" / "calibration.csv").open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["before"] and row["after"]]
            rows = {row["metric"]: (float(row["before"]), float(row["after"])) for row in kept}
        assert rows["dice"][0] == rows["dice"][1]
        assert rows["nll"][0] != rows["nll"][1]
        with (path / "test" / "summary.csv").open(newline="") as file:
            summary = {(row["metric"], row["class"]): float(row["mean"]) for row in csv.DictReader(file) if row["mean"]}
        assert summary["ece", "all"] == pytest.approx(rows["ece"][1], abs=1e-9)
        assert summary["ece_pooled", "all"] == pytest.approx(rows["ece_pooled"][1], abs=1e-9)

    def test_predicts_with_the_calibrated_cuts(self, path):
        main(["predict", *SMALL, f"--ckpt_path={path}", "--threshold=calibrated"])
        cuts = restore(torch.load(path / "checkpoints" / "best.ckpt", weights_only=True))[1]["thresholds"]
        stem = next((path / "predictions" / "test" / "probabilities").iterdir())
        foreground = torch.from_numpy(np.asarray(Image.open(stem)) / 65535)
        mask = np.asarray(Image.open(path / "predictions" / "test" / "masks" / f"{stem.stem}.png"))
        decided = (foreground - cuts[1]).abs().numpy() > 1 / 65535  # the file's last level may lie across the cut
        assert decided.mean() > 0.99
        labels = metrics.threshold_labels(torch.stack([1 - foreground, foreground]), cuts).numpy()
        assert np.array_equal(mask[decided], labels[decided])

    def test_scores_the_masks_that_predict_writes_with_the_same_cuts(self, path, capsys):
        """Dice of the files of `predict`, counted with numpy, is that of `test`; calibration stays as it was."""
        before = _summary(path)
        main(["predict", *SMALL, f"--ckpt_path={path}", "--threshold=[0.2]", f"--output={path / 'low'}"])
        main(["test", *SMALL, f"--ckpt_path={path}", "--threshold=[0.2]"])
        dice = []
        for case, truth in _test_masks(path).items():
            mask = np.asarray(Image.open(path / "low" / "masks" / f"{case}.png"))
            dice.append(2 * (mask * truth).sum() / (mask.sum() + truth.sum()))
        after = _summary(path)
        assert after["dice", "all"] == pytest.approx(np.mean(dice), abs=1e-9)
        assert after["ece", "all"] == before["ece", "all"]
        assert Comparison(find_runs([path]), "test").methods == ["DSC++ + temperature + cut"]
        main(["test", *SMALL, f"--ckpt_path={path}"])
        assert _summary(path) == before
        assert Comparison(find_runs([path]), "test").methods == ["DSC++ + temperature"]
        assert Comparison(find_runs([path]), "val").methods == ["DSC++"]

    @pytest.mark.parametrize(
        ("verb", "cuts", "why"),
        [("validate", "[0.2]", "goes with predict"), ("test", "risk", "predict writes")],
    )
    def test_cuts_that_cut_nothing_are_refused(self, path, capsys, verb, cuts, why):
        with pytest.raises(SystemExit):
            main([verb, *SMALL, f"--ckpt_path={path}", f"--threshold={cuts}"])
        assert why in capsys.readouterr().err

    def test_refuses_to_test_on_the_cases_of_the_fit(self, path, capsys):
        file = path / "checkpoints" / "best.ckpt"
        checkpoint = torch.load(file, weights_only=True)
        checkpoint["calibrator"]["cases"].append("test_0000")
        leak = path / "checkpoints" / "leak.ckpt"
        torch.save(checkpoint, leak)
        with pytest.raises(SystemExit):
            main(["test", *SMALL, f"--ckpt_path={leak}"])
        assert "case test_0000 was used to calibrate" in capsys.readouterr().err


class TestRisk:
    """The method `risk`: kept, written, checked."""

    def promised(self, run, **wish):
        calibrate(run, phantom_of(12), method="risk", **wish)
        return torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["risk"]

    def test_promise_is_of_the_validation_cases_as_predicted_and_dropped_by_another_calibrator(self, run, capsys):
        enough(run)
        kept = self.promised(run, level=0.3)
        ((name, one),) = kept["promises"].items()
        assert (one["n"], one["level"], len(kept["cases"])) == (12, 0.3, 12)
        assert one["seen"] <= 0.3
        told = capsys.readouterr().out
        assert f"{name}: fnr by case, in expectation: at most 0.3" in told
        calibrate(run, phantom_of(12), method="temperature")
        assert "risk" not in torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)

    def test_too_few_cases_are_refused_with_their_number_and_the_checkpoint_stays(self, run):
        before = (run / "checkpoints" / "best.ckpt").read_bytes()
        with pytest.raises(ValueError, match=r"3 cases cannot promise a level of 0\.1: 9 would do"):
            calibrate(run, method="risk")
        with pytest.raises(ValueError, match="--of_class liver: the classes are"):
            calibrate(run, method="risk", of_class=["liver"])
        assert (run / "checkpoints" / "best.ckpt").read_bytes() == before


def phantom_of(cases):
    return Phantom(size=32, num_cases=[4, cases, 3], num_workers=0)


def enough(run):
    data = phantom_of(12)
    data.prepare_data()
    data.setup("fit")
    rows = [f"{row['case']},{row['subset']}" for row in data.split_table()]
    (run / "split.csv").write_text("\n".join(["case,subset", *rows]) + "\n")


def test_labels_of_a_promise_are_the_sets_of_two_classes_and_the_furthest_above_of_more():
    probs = torch.tensor([[0.95, 0.6, 0.1], [0.03, 0.1, 0.6], [0.02, 0.3, 0.3]])
    cut = int(metrics.axis_index(torch.tensor([0.025])))
    assert promised_labels(torch.stack((1 - probs[1], probs[1])), [cut]).tolist() == [1, 1, 1]
    assert promised_sets(probs, [cut, None]).tolist() == [[True, True, True], [False, False, False]]
    higher = int(metrics.axis_index(torch.tensor([0.25])))
    assert promised_labels(probs, [higher, higher]).tolist() == [0, 2, 1]


def test_what_happened_stands_beside_what_was_promised():
    torch.manual_seed(0)
    odds = []
    for _ in range(12):
        probs = (3 * torch.randn(2, 40)).softmax(0)
        odds.append(case_odds(probs, (torch.rand(40) < probs[1]).long()))
    promises = make_promises(odds, ("background", "cell"), Wish(level=0.2))
    (row,) = held_against(from_record(to_record(promises)), odds, ("background", "cell"))
    assert row["happened"] == pytest.approx(promises["cell"].seen)
    assert row["cases"] == 12
    assert f"{row['happened']:.4f}" in promise_told([row])


def test_cuts_are_those_of_the_masks_that_predict_writes(run, tmp_path):
    torch.manual_seed(0)
    for number in range(10):
        probs = torch.rand(6, 6).repeat_interleave(8, 0).repeat_interleave(8, 1)
        mask = (torch.rand(48, 48) < probs**2).numpy().astype(np.uint8)
        for folder, array in (("images", (probs.numpy() * 255).astype(np.uint8)), ("masks", 255 * mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / folder / f"{number}.png")
    data = ImageFolder(
        root=str(tmp_path), channels=1, size=[16, 16], split_sizes=[4, 3, 3], batch_size=2, num_workers=0
    )
    (run / "split.csv").unlink()
    calibrate(run, data)
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    trained, loader = module(), data.val_dataloader()
    trained.load_state_dict(checkpoint["state_dict"], strict=False)
    trained.calibrator, record = restore(checkpoint)
    probs = torch.stack([case["original"][0, 1].double() for case in Trainer(**QUIET).predict(trained, loader)])
    true = torch.stack([batch["original_mask"][0] == 1 for batch in loader])
    dice = [
        2 * ((probs >= cut / 1000) & true).sum() / ((probs >= cut / 1000).sum() + true.sum()) for cut in range(1000)
    ]
    assert probs.shape == (3, 48, 48)
    assert record["thresholds"][1] == pytest.approx(int(torch.stack(dice).argmax()) / 1000)
    assert max(dice) > dice[500] + 0.01
