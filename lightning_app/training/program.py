"""The training program: LightningCLI with a run folder, W&B settings and our callbacks."""

import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lightning_app.arguments import expand
from lightning_app.calibration.calibrate import CalibrationComparison
from lightning_app.export import ProgramTrainer
from lightning_app.files import write_text
from lightning_app.training.checkpoint import BestCheckpoint
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.evaluation import CaseEvaluation
from lightning_app.training.figures import StageFigures, TrainingFigures
from lightning_app.training.module import SegmentationModule
from lightning_app.training.predictions import PredictionWriter
from lightning_app.training.progress import RunProgress
from lightning_app.training.record import RunRecord
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.summary import print_predictions, print_summary
from lightning_app.training.tracking import RunLogger, end_wandb, recipe_of, run_labels

NOT_KEPT = ("config", "ckpt_path", "weights_only", "verbose", "return_predictions", "dataloaders", "resume", "run_name")


class TrainingCLI(LightningCLI):
    """LightningCLI for `fit`, `validate`, `test`, `predict`, `calibrate` and `export`."""

    run_folder: RunFolder
    is_new: bool
    kept_config: dict[str, Any]

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The verbs, each a method of the trainer, and their arguments that are no options."""
        ours = {verb: {"model", "datamodule"} for verb in ("calibrate", "export")}
        return {**LightningCLI.subcommands(), **ours}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our own options, the links from the data to the network, and the two checkpoints."""
        parser.add_argument("--runs_dir", type=str, default="runs", help="Folder that run folders are made in.")
        parser.add_argument(
            "--run_name", type=str | None, default=None, help="Name of the run folder; time and a random part if unset."
        )
        parser.add_argument(
            "--resume", type=str | None, default=None, help="Run folder to go on with, from its last epoch (fit only)."
        )
        parser.add_argument("--test_after", type=bool, default=False, help="After fit, evaluate the test cases too.")
        parser.add_argument(
            "--surface", type=bool, default=False, help="Evaluate surface distances too (HD95, ASSD, NSD, in mm)."
        )
        parser.add_argument(
            "--threshold",
            type=Literal["argmax", "calibrated"] | list[float],
            default="argmax",
            help="How predict makes labels: the largest probability, the cuts that calibrate found, or a cut a class.",
        )
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.enable_version_counter": False,
            }
        )
        for name in ("in_channels", "spatial_dims"):
            parser.link_arguments(f"data.{name}", f"model.net.init_args.{name}", apply_on="instantiate")
        parser.link_arguments(
            "data.num_classes", "model.net.init_args.num_classes", compute_fn=self._channels, apply_on="instantiate"
        )
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.link_arguments("data.class_names", "model.class_names", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the expanded arguments; the process's own stay as they are, for the processes that DDP starts."""
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        """Name or find the run folder and point checkpoints and loggers at it."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        self._check_device(config)
        self.kept_config = self._keep(config)  # before this run's places enter it
        self.run_folder, self.is_new = self._find_run_folder(config)
        config.checkpoint.dirpath = str(self.run_folder.checkpoints)
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if hasattr(logger, "class_path"):
                self._configure_logger(logger)
        if self.subcommand == "predict":
            config.return_predictions = False
        if self.subcommand in {"validate", "test"}:
            config.verbose = False  # the summary says it
        if self.subcommand in {"predict", "calibrate", "export"}:
            config.trainer.logger = False

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what every run has: curves, record, evaluation, figures, predictions and the last checkpoint."""
        config = self._get(self.config_init, "trainer")
        run, seed = self.run_folder, self._get(self.config_init, "seed_everything") or 0
        if self.is_new:
            run.make()
        given = config.get("logger") or []
        loggers = given if isinstance(given, list) else [given]
        if self.subcommand == "fit":
            loggers = [*loggers, CurvesLogger(run.curves)]
        evaluation = CaseEvaluation(run, surface=bool(self._get(self.config_init, "surface")))
        ours = [
            RunRecord(run, seed, self.hyperparameters()),
            evaluation,
            StageFigures(run, evaluation),
            TrainingFigures(run),
            RunProgress(),
            CalibrationComparison(run),
            PredictionWriter(
                run.predictions,
                threshold=self._get(self.config_init, "threshold"),
                settings={part: self.kept_config[part] for part in ("model", "data")},
            ),
            ModelCheckpoint(
                dirpath=run.checkpoints, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
            ),
        ]
        config["callbacks"] = [*(config.get("callbacks") or []), *ours]
        return super().instantiate_trainer(logger=loggers or False, **kwargs)

    def hyperparameters(self) -> dict[str, Any]:
        """What loggers get: the nested config, and flat columns such as `loss/name` and `loss/gamma`."""
        config = self.kept_config
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

    def after_instantiate_classes(self) -> None:
        """Keep configuration and command, so that the run can be repeated from its folder."""
        if self.subcommand == "fit" and is_first_process():
            write_text(self.run_folder.config, yaml.safe_dump(self.kept_config, sort_keys=False))
            write_text(
                self.run_folder.path / "command.txt", shlex.join(["python", "-m", "lightning_app", *sys.argv[1:]])
            )

    def after_fit(self) -> None:
        """Evaluate the kept checkpoint, on the test cases too where asked, and say where everything lies."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        path = str(self.run_folder.scored)
        self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
        stages = ["val"]
        if self._get(self.config_init, "test_after"):
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
            stages.append("test")
        self._finish(*stages)
        if self.trainer.is_global_zero:
            self.run_folder.write_state(status="finished")

    def after_validate(self) -> None:
        """Print the table."""
        self._finish("val")

    def after_test(self) -> None:
        """Print the table."""
        self._finish("test")

    def after_predict(self) -> None:
        """Say where the files lie."""
        if self.trainer.is_global_zero:
            print_predictions(self.run_folder)

    def _finish(self, *stages: str) -> None:
        if self.trainer.is_global_zero:
            print_summary(self.run_folder, stages, self.trainer.loggers)

    def _channels(self, num_classes: int) -> int:
        """Output channels of the network: one for two classes under `--model.binary sigmoid`."""
        return 1 if self._get(self.config, "model.binary") == "sigmoid" and num_classes == 2 else num_classes

    def _keep(self, config: Any) -> dict[str, Any]:
        """The resolved configuration as plain data, less what belongs to one call of the program."""
        text = self._parser(self.subcommand).dump(config, skip_none=False)
        return {key: value for key, value in yaml.safe_load(text).items() if key not in NOT_KEPT}

    def _find_run_folder(self, config: Any) -> tuple[RunFolder, bool]:
        """The run's folder, and whether it is to be made."""
        if self.subcommand is None or not is_first_process():
            return RunFolder(
                Path(config.runs_dir) / "unnamed"
            ), False  # the first process tells the name, see RunRecord
        if config.resume:
            return RunFolder(Path(config.resume)), False
        folder = RunFolder.of_checkpoint(config.ckpt_path) if config.get("ckpt_path") else None
        if folder is not None and self.subcommand != "fit":
            return folder, False
        return RunFolder.named(config.runs_dir, config.run_name), True

    def _configure_logger(self, logger: Any) -> None:
        """Point a logger of the config at the run folder, unless the user chose a place."""
        options = logger.init_args
        if "save_dir" in options and options.save_dir in {None, "."}:
            options.save_dir = str(self.run_folder)
        if logger.class_path.rpartition(".")[2] == WandbLogger.__name__:
            logger.class_path = f"{RunLogger.__module__}.{RunLogger.__name__}"
            options.id = options.id or self.run_folder.name
            # a first sitting that is sent later lies over what of it was sent before, a resumed one follows it
            options.resume = options.resume or (None if self.is_new else "allow")
            for key, value in self._labels().items():
                options[key] = options.get(key) or value

    def _labels(self) -> dict[str, Any]:
        """What W&B shows of the run."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        in_sweep = "WANDB_RUN_GROUP" in os.environ  # where the runner names the folder
        name = None if in_sweep else config.run_name
        return run_labels(self.kept_config, self.subcommand or "fit", name, recipe_of(config.get("config") or []))

    def _check_device(self, config: Any) -> None:
        """Say in words that a GPU was asked for and is not there."""
        import torch

        if config.trainer.accelerator in {"gpu", "cuda"} and not torch.cuda.is_available():
            raise ValueError(
                f"--trainer.accelerator {config.trainer.accelerator}: no GPU is visible to torch {torch.__version__}; "
                f"use --trainer.accelerator cpu, or check the driver and CUDA_VISIBLE_DEVICES"
            )


def run_training(args: list[str], run: bool = True) -> TrainingCLI:
    """Parse the command line of a training verb, build its objects and run it.

    Args:
        args: Verb and options.
        run: Otherwise only build the objects, of the verb's configuration but without running it.
    """
    _quieten()
    arguments = expand(args)
    parser_kwargs: dict[str, Any] = {"exit_on_error": False, "prog": "python -m lightning_app"}
    if run:
        parser_kwargs |= {verb: {"exit_on_error": False} for verb in TrainingCLI.subcommands()}
    code = 1
    try:
        cli = TrainingCLI(
            SegmentationModule,
            LightningDataModule,
            trainer_class=ProgramTrainer,
            subclass_mode_data=True,
            save_config_callback=None,
            parser_kwargs=parser_kwargs,
            args=arguments if run else arguments[1:],
            run=run,
            seed_everything_default=0,
        )
        code = 0
    finally:
        end_wandb(code)
    return cli


def is_first_process() -> bool:
    """Whether this process is the one that writes; Lightning knows it from the launcher's environment."""
    return getattr(rank_zero_only, "rank", 0) == 0


class _NoAdvertisement(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "💡" not in record.getMessage()


def _quieten() -> None:
    """Keep the log to what concerns the run."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch"):
        logging.getLogger(name).addFilter(_NoAdvertisement())
    # Lightning 2.6.6 with torch 2.15: its own use of a name that torch renamed.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)", category=FutureWarning)
    # The loaders have the number of workers that the data module's author chose or the user asked for.
    warnings.filterwarnings("ignore", message=r".*does not have many workers", category=UserWarning)
