import pytest
import torch

from lightning_app.arguments import CONFIGS, expand
from lightning_app.cli import main
from lightning_app.errors import UserError
from lightning_app.training.checkpoint_files import OF_TRAINING, save_checkpoint
from lightning_app.training.head import head_of
from lightning_app.training.run_folder import RunFolder

DEFAULT, PHANTOM = f"--config={CONFIGS / 'default.yaml'}", f"--config={CONFIGS / 'phantom.yaml'}"


@pytest.fixture
def run(tmp_path):
    run = RunFolder.named(tmp_path / "runs", "one")
    run.make().close()
    run.config.write_text("seed_everything: 3\n")
    run.checkpoints.mkdir()
    for name in ("best", "last"):
        save_checkpoint(dict.fromkeys(OF_TRAINING, 0) | {"state_dict": {}}, run.checkpoint(name))
    return run


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A configuration `mine.yaml` in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("seed_everything: 1\n")


def test_no_argument_means_the_phantom_recipe():
    assert expand(["fit"]) == ["fit", DEFAULT, PHANTOM]


@pytest.mark.parametrize("named", [["--config", "mine.yaml"], ["--config=mine.yaml"], ["--data", "datamodules.DRIVE"]])
def test_a_config_or_data_set_replaces_the_phantom_recipe(named, mine):
    assert expand(["fit", *named]) == ["fit", DEFAULT, *named]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--data.root=/d", "--data", "DRIVE"], ["--data", "DRIVE", "--data.root=/d"]),
        (["--lr", "0.1", "--optimizer=SGD"], ["--optimizer=SGD", "--optimizer.lr", "0.1"]),
        (
            ["--data.a=1", "--seed", "3", "--data.b", "[1, 2]", "--data=X"],
            ["--data=X", "--data.a=1", "--seed_everything", "3", "--data.b", "[1, 2]"],
        ),
        (["--data=A", "--data.a=1", "--data=B"],) * 2,
        (["--model.loss.gamma=3", "--model=m.yaml"],) * 2,
        (["--data.a=1", "--config=mine.yaml", "--data=X"],) * 2,
    ],
)
def test_a_class_may_stand_after_its_arguments(given, read, mine):
    assert expand(["fit", *given])[-len(read) :] == read


def test_a_root_given_before_its_data_set_is_of_that_data_set(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", f"--data.root={tmp_path / 'none'}", "--data", "DRIVE"])
    assert f"DRIVE: folder {tmp_path / 'none'} does not exist" in capsys.readouterr().err


def test_resume_reads_the_runs_config_and_last_checkpoint(run):
    args = expand(["fit", "--resume", str(run), "--trainer.max_epochs=9"])
    assert args[2] == f"--config={run.config}"
    assert args[-1] == f"--ckpt_path={run.checkpoint('last')}"
    assert "--trainer.max_epochs=9" in args


@pytest.mark.parametrize(("verb", "expected"), [("test", "best"), ("fit", "last")])
def test_a_run_folder_stands_for_its_checkpoint(run, verb, expected):
    args = expand([verb, f"--ckpt_path={run}"])
    assert args[-1] == f"--ckpt_path={run.checkpoint(expected)}"
    assert f"--config={run.config}" in args


def test_a_run_that_never_validated_is_scored_by_its_last_checkpoint(run):
    run.checkpoint("best").unlink()
    assert expand(["test", f"--ckpt_path={run}"])[-1] == f"--ckpt_path={run.checkpoint('last')}"


def test_a_run_without_any_checkpoint_is_an_error(run):
    for name in ("best", "last"):
        run.checkpoint(name).unlink()
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*last\.ckpt"):
        expand(["test", f"--ckpt_path={run}"])


def test_a_config_of_the_users_wins_over_the_runs(run, mine):
    args = expand(["test", "--ckpt_path", str(run), "--config", "mine.yaml"])
    assert f"--config={run.config}" not in args


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_last_that_finds_nothing_is_an_error(tmp_path, verb):
    with pytest.raises(FileNotFoundError, match=r"--ckpt_path last: no last.ckpt in any run folder"):
        expand([verb, "--ckpt_path", "last", "--runs_dir", str(tmp_path)])


def test_last_finds_the_newest_run(run):
    args = expand(["test", "--ckpt_path=last", f"--runs_dir={run.path.parent}"])
    assert args[-1] == f"--ckpt_path={run.checkpoint('last')}"


@pytest.mark.parametrize("given", ["--resume", "--ckpt_path"])
def test_a_folder_that_is_no_run_is_named(tmp_path, given):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} is no run folder"):
        expand(["fit", given, str(tmp_path)])


def test_resume_goes_with_fit_only(run):
    with pytest.raises(ValueError, match="goes with fit"):
        expand(["test", "--resume", str(run)])


@pytest.mark.parametrize(
    "break_it", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:300] + b"x" * 9 + b[309:]]
)
def test_resume_falls_back_from_a_broken_checkpoint_and_says_so(run, capsys, break_it):
    last = run.checkpoint("last")
    last.write_bytes(break_it(last.read_bytes()))
    assert expand(["fit", "--resume", str(run)])[-1] == f"--ckpt_path={run.checkpoint('best')}"
    told = capsys.readouterr().err
    assert str(last) in told
    assert f"going on from {run.checkpoint('best')}" in told


def test_resume_takes_no_checkpoint_of_weights_that_are_not_finite(run, capsys):
    spoiled = dict.fromkeys(OF_TRAINING, 0) | {"state_dict": {"net.a": torch.tensor([1.0, float("nan")])}}
    save_checkpoint(spoiled, run.checkpoint("last"))
    assert expand(["fit", "--resume", str(run)])[-1] == f"--ckpt_path={run.checkpoint('best')}"
    assert "1 of 1 weights hold NaN" in capsys.readouterr().err


def test_resume_of_nothing_but_broken_checkpoints_names_each(run):
    for name in ("best", "last"):
        run.checkpoint(name).write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint to go on from: .*last\.ckpt.*empty.*best\.ckpt.*empty"):
        expand(["fit", "--resume", str(run)])


def test_resume_before_the_first_checkpoint_starts_from_the_beginning(run, capsys):
    for name in ("best", "last"):
        run.checkpoint(name).unlink()
    assert not any("--ckpt_path" in arg for arg in expand(["fit", "--resume", str(run)]))
    assert "from the beginning" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["--config={}", "--model.loss={}", "--data={}"])
def test_a_configuration_that_blows_up_is_refused_at_once(tmp_path, given):
    lines = ["a0: &a0 [1, 2]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("\n".join(lines))
    for value in (str(bomb), "{" + ", ".join(lines) + "}"):
        with pytest.raises(UserError, match="its aliases stand for more than"):
            expand(["fit", given.format(value)])


def test_weights_from_names_the_weights_alone(run):
    args = expand(["fit", f"--weights_from={run}"])
    assert args[-1] == f"--weights_from={run.checkpoint('last')}"
    assert f"--config={run.config}" in args
    with pytest.raises(UserError, match=r"--weights_from .* goes with fit"):
        expand(["test", f"--weights_from={run}"])


OF_A_RUN = ("validate", "test", "predict", "calibrate", "export")


@pytest.mark.parametrize(("verb", "option"), [("fit", "--resume"), *((verb, "--ckpt_path") for verb in OF_A_RUN)])
def test_a_verb_that_is_not_run_gives_its_options_and_objects(run, verb, option):
    program = main([verb, option, str(run.path), "--config", "phantom", "--trainer.logger=false"], run=False)
    assert program.config.ckpt_path == str(run.checkpoint("last" if verb == "fit" else "best"))
    assert type(program.datamodule).__name__ == "Phantom"
    assert head_of(program.model).num_classes == program.datamodule.num_classes
    assert [path.name for path in run.path.parent.iterdir()] == [run.name]


@pytest.mark.parametrize(
    ("given", "told"), [("--ckpt_pth=a", "did you mean --ckpt_path?"), (None, "needs --ckpt_path")]
)
def test_what_is_wrong_with_a_verb_that_is_not_run_is_told_in_a_line(capsys, given, told):
    with pytest.raises(SystemExit) as stop:
        main(["test", *([given] if given else [])], run=False)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert told in error
