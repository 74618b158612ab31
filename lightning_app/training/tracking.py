"""The run in W&B: opened whatever the server does, ended in bounded time, named so that a person finds it."""

import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers.utilities import _scan_checkpoints
from lightning.pytorch.utilities import rank_zero_only

from lightning_app.errors import UserError
from lightning_app.names import loss_name

log = logging.getLogger(__name__)
OPENING = 15.0  # seconds that a server has to answer before a run goes on without it
ENDING = 30.0  # seconds that it has at the end to take what is left
STAGES = ("val", "test")


class RunLogger(WandbLogger):
    """Lightning's W&B logger for a server that may be down, slow or broken.

    A run that cannot be opened is kept offline, and said so; one whose server dies ends in bounded time. Everything is
    in its folder either way, and the closing lines say how to send it. The options are those of Lightning's logger.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._wandb_init.get("anonymous", True) is None:  # retired; Lightning 2.6.6 hands it on all the same
            del self._wandb_init["anonymous"]

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, opened at the first use."""
        if self._experiment is None:
            self._open()
        return super().experiment

    def _open(self) -> None:
        import wandb

        self._wandb_init["settings"] = _bounded(self._wandb_init.get("settings"))
        folder = Path(self._wandb_init.get("dir") or ".") / "wandb"
        before = set(folder.glob("run-*"))
        try:
            _ = super().experiment
        except (wandb.errors.AuthenticationError, wandb.errors.UsageError) as error:
            raise UserError(f"W&B: {_first_line(error)}; WANDB_MODE=offline needs no account") from error
        except Exception as error:  # the client has one kind of error for each way in which a server fails
            _forget(wandb, set(folder.glob("run-*")) - before)
            log.warning(
                "W&B: %s gives no run (%s); this run is kept offline, and sent by: wandb sync %s",
                os.environ.get("WANDB_BASE_URL", "the server"),
                _first_line(error),
                shlex.quote(str(folder)),
            )
            os.environ["WANDB_MODE"] = "offline"
            os.environ.setdefault("WANDB_SILENT", "true")
            self._wandb_init["settings"] = None
            _ = super().experiment
        run = self._experiment
        assert run is not None
        for stage in STAGES:
            run.define_metric(f"{stage}/*", step_metric="epoch")

    def _scan_and_log_checkpoints(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Send new checkpoints as versions of an artifact, each under its file's name; Lightning calls both `best`."""
        import wandb

        for changed, path, score, _ in _scan_checkpoints(checkpoint_callback, self._logged_model_time):
            facts = {name: getattr(checkpoint_callback, name) for name in ("monitor", "mode")}
            facts |= {"score": None if score is None else float(score), "original_filename": Path(path).name}
            name = self._checkpoint_name or f"model-{self.experiment.id}"
            artifact = wandb.Artifact(name, type="model", metadata=facts)
            artifact.add_file(path, name="model.ckpt", policy=self.add_file_policy)
            is_best = checkpoint_callback.monitor is not None and path == checkpoint_callback.best_model_path
            self.experiment.log_artifact(artifact, aliases=sorted({Path(path).stem} | ({"best"} if is_best else set())))
            self._logged_model_time[path] = changed


class RunMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger, which of several callbacks sends the checkpoints of the one that saved last.

    This one sends those of all. The options are those of Lightning's logger.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._callbacks: dict[int, ModelCheckpoint] = {}

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Remember a callback whose checkpoints are sent at the end, or send them now, by `log_model`."""
        if self._log_model is True:
            self._callbacks[id(checkpoint_callback)] = checkpoint_callback
        else:
            super().after_save_checkpoint(checkpoint_callback)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Send the checkpoints."""
        for callback in self._callbacks.values():
            self._scan_and_log_checkpoints(callback)
        super().finalize(status)


def _bounded(settings: Any) -> Any:
    """The client's settings: the user's own, else ones with an end to every wait."""
    import wandb

    return settings or wandb.Settings(
        init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", OPENING)),
        finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", ENDING)),
        finish_timeout_raises=True,
    )


def _forget(wandb: Any, folders: Iterable[Path]) -> None:
    """End the client of a run that never began, and remove its empty folders."""
    try:
        wandb.teardown(exit_code=1)
    except Exception as error:  # its process may be gone already
        log.debug("W&B's client did not end well: %s", error)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def end_wandb(code: int) -> None:
    """End the W&B run, if there is one, so that it shows how the program ended and a next run is another one."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    folder = shlex.quote(str(Path(wandb.run.settings.sync_dir)))
    try:
        wandb.finish(exit_code=code)
    except TimeoutError:
        log.warning(
            "W&B: the server did not take all of this run within %.0f s; all of it is kept here, and sent by: "
            "wandb sync --include-online %s",
            ENDING,
            folder,
        )


def upload_lines(loggers: Iterable[Logger]) -> list[str]:
    """The command that sends what was kept offline: one for all sittings of a run, which become one W&B run."""
    runs = [logger.experiment.settings for logger in loggers if isinstance(logger, WandbLogger)]
    return [f"wandb sync {shlex.quote(str(Path(run.sync_dir).parent))}" for run in runs if run.mode == "offline"]


def run_labels(config: Mapping[str, Any], verb: str, name: str | None, recipe: Path | None) -> dict[str, Any]:
    """What W&B shows of a run: name, group, job type, tags and notes; what the environment says of them wins.

    Args:
        config: The resolved configuration.
        verb: `fit`, `test`, ...
        name: The name that the user gave the run; made of data, loss and seed where there is none.
        recipe: The configuration file that the user named.

    Returns:
        Options of `wandb.init`.
    """
    from lightning_app.shipped import header

    data, net, loss = _named(config, "data"), _named(config, "model.net"), loss_name(config["model"]["loss"])
    words = [slug(data), slug(loss), *_marks(config["model"]["loss"])]
    labels = {
        "name": name or "-".join([*words, f"s{config.get('seed_everything') or 0}"]),
        "group": recipe.stem if recipe else None,
        "job_type": verb,
        "tags": [data, loss, net],
        "notes": header(recipe) if recipe else None,
    }
    own = {"name": "WANDB_NAME", "group": "WANDB_RUN_GROUP", "job_type": "WANDB_JOB_TYPE", "notes": "WANDB_NOTES"}
    return {key: value for key, value in labels.items() if value and own.get(key, "") not in os.environ}


def configure_mlflow(options: Any, folder: Path, name: str | None) -> None:
    """Name a run in MLflow, and give it a store that MLflow 3 takes: it refuses the folder that Lightning would give.

    Args:
        options: The logger's options, which are changed where the user set none.
        folder: Where the run folders lie.
        name: The run's name.
    """
    options.run_name = options.run_name or name
    if not options.tracking_uri and "MLFLOW_TRACKING_URI" not in os.environ:
        options.tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
        options.artifact_location = options.artifact_location or str(folder / "mlflow")


def _named(config: Mapping[str, Any], place: str) -> str:
    """The class at a place of the configuration, or of data the task that tells one module's sets apart."""
    part: Any = config
    for word in place.split("."):
        part = part[word]
    task = str((part.get("init_args") or {}).get("task") or "") if place == "data" else ""
    return task.partition("_")[2] or task or part["class_path"].rpartition(".")[2]


def _marks(loss: Mapping[str, Any]) -> list[str]:
    """The numbers that tell losses of one kind apart: `g2` for gamma 2, `m10` for margin 10."""
    options = loss.get("init_args") or {}
    values = {letter: options.get(key) for key, letter in (("gamma", "g"), ("margin", "m"))}
    return [f"{letter}{value:g}" for letter, value in values.items() if isinstance(value, int | float)]


def slug(name: str) -> str:
    """A name as one lower-case word: `DSC++` is `dscpp`."""
    return re.sub(r"[^a-z0-9]+", "", name.replace("++", "pp").lower())


def recipe_of(configs: Sequence[Any]) -> Path | None:
    """The file among the given configurations that says what is run; none for a run's own or the defaults."""
    paths = [Path(str(config)) for config in configs]
    named = [path for path in paths if path.suffix == ".yaml" and path.stem not in ("default", "config")]
    return named[-1] if named else None


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """What loggers get: the nested config, and flat columns such as `loss/name` and `loss/gamma`."""
    columns: dict[str, Any] = {"seed": config["seed_everything"]}
    for name, part in (
        ("loss", config["model"]["loss"]),
        ("net", config["model"]["net"]),
        ("data", config["data"]),
    ):
        columns[f"{name}/name"] = part["class_path"].rpartition(".")[2]
        options = (part.get("init_args") or {}).items()
        columns |= {f"{name}/{key}": value for key, value in options if isinstance(value, int | float | str)}
    return {"cfg": config, **columns}
