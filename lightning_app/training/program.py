"""The training program: LightningCLI with a run folder, W&B settings and our callbacks."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import IO, Any

import yaml
from jsonargparse import ArgumentError
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_app.arguments import SHORT, expand
from lightning_app.class_help import plain_output
from lightning_app.errors import UserError, is_users
from lightning_app.export import ProgramTrainer
from lightning_app.files import write_text
from lightning_app.system.lock import claim
from lightning_app.training.beginning import check_epochs, take_weights, tell_if_finished
from lightning_app.training.checkpoint_files import WholeCheckpoints
from lightning_app.training.comparison import CalibrationComparison
from lightning_app.training.curves import CurvesLogger
from lightning_app.training.evaluation import CaseEvaluation
from lightning_app.training.figures import StageFigures, TrainingFigures
from lightning_app.training.head import output_channels
from lightning_app.training.loops import run_everywhere
from lightning_app.training.module import SegmentationModule
from lightning_app.training.options import add_options, check_options
from lightning_app.training.precision import PrecisionCheck
from lightning_app.training.predictions import PredictionWriter
from lightning_app.training.processes import is_first_process, tell
from lightning_app.training.progress import RunProgress
from lightning_app.training.progress_picture import ProgressPicture
from lightning_app.training.promises import PromiseCheck
from lightning_app.training.quiet import quieten
from lightning_app.training.record import RunRecord
from lightning_app.training.run_folder import RunFolder
from lightning_app.training.shift import elsewhere, shifted, stage_name
from lightning_app.training.split import follow
from lightning_app.training.steps import check_stopping, scheduled
from lightning_app.training.summary import print_predictions, print_summary
from lightning_app.training.terminal import Opening, describe_loss, progress_bar
from lightning_app.training.tracking import (
    RunLogger,
    RunMLFlowLogger,
    configure_mlflow,
    end_wandb,
    hyperparameters,
    recipe_of,
    run_labels,
)
from lightning_app.wording import no_option
from metrics import ObjectRule

UNKNOWN = re.compile(r"[Uu]nrecognized arguments: (--[^\s=]+)")
STOPPED = 130  # the exit code after Ctrl-C
NOT_KEPT = (
    "config", "ckpt_path", "weights_only", "verbose", "return_predictions", "dataloaders", "resume", "run_name",
    "weights_from", "test_data", "test_root", "corrupt",
)  # fmt: skip


class TrainingCLI(LightningCLI):
    """LightningCLI for `fit`, `validate`, `test`, `predict`, `calibrate` or `export`: the parser of one alone is made.

    Args:
        args: Verb and options.
        run: Otherwise only build the objects, of the verb's configuration but without running it.
    """

    trainer: ProgramTrainer
    run_folder: RunFolder
    is_new: bool
    kept_config: dict[str, Any]

    def __init__(self, args: list[str], run: bool = True) -> None:
        self.verb, self.runs, options = args[0], run, expand(args)
        self.claim: IO[str] | None = None
        self.record: RunRecord | None = None
        raised: dict[str, Any] = {"exit_on_error": False}
        try:
            super().__init__(
                SegmentationModule,
                LightningDataModule,
                trainer_class=ProgramTrainer,
                subclass_mode_data=True,
                save_config_callback=None,
                parser_kwargs={**raised, "allow_abbrev": False, "prog": "python -m lightning_app", self.verb: raised},
                args=options if run else options[1:],
                run=run,
                seed_everything_default=0,
            )
        except BaseException as error:
            self._end_badly(error)
            raise
        finally:
            if self.claim is not None:
                self.claim.close()

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning asks its object
        """The verb that is called, a method of the trainer, and its arguments that are no options."""
        ours = {"calibrate": {"model", "datamodule"}, "export": {"model", "datamodule", "output"}}
        return {self.verb: {**LightningCLI.subcommands(), **ours}[self.verb]}

    def export(self, **options: Any) -> None:
        """Hand the trainer's verb `export` its file, an option that it shares with `predict`."""
        self.trainer.export(output=self._option("output"), **options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Our own options, the links from the data to the network, and the two checkpoints."""
        add_options(parser, self._channels)
        if not self.runs:  # else Lightning adds the verb's
            parser.add_method_arguments(ProgramTrainer, self.verb, skip=set(self.subcommands()[self.verb]))

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the expanded arguments; the process's own stay as they are, for the processes that DDP starts."""
        with plain_output(args):
            try:
                self.config = parser.parse_args(args)
            except ArgumentError as error:
                if found := UNKNOWN.search(str(error)):
                    own = self._subcommand_parsers[self.verb] if self.runs else self.parser
                    raise UserError(no_option(found[1], {*own._option_string_actions, *SHORT})) from error
                raise

    def _parse_ckpt_path(self) -> None:
        """Take no settings from a checkpoint, as Lightning does: those of a run are in its `config.yaml`."""

    def before_instantiate_classes(self) -> None:
        """Name or find the run folder and point checkpoints and loggers at it."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        check_options(self.verb, config)
        self.kept_config = self._keep(config)  # before this run's places enter it
        self.run_folder, self.is_new = self._find_run_folder(config)
        if self.subcommand == "test":
            self.run_folder.tested = stage_name(config.test_data, config.corrupt)
        config.checkpoint.dirpath = str(self.run_folder.checkpoints)
        loggers = config.trainer.logger
        for logger in loggers if isinstance(loggers, list) else [loggers]:
            if hasattr(logger, "class_path"):
                self._configure_logger(logger)
        if self.subcommand == "predict":
            config.return_predictions = False
        if self.subcommand in {"validate", "test"}:
            config.verbose = False  # the summary says it
        if self.subcommand in {"predict", "calibrate", "export"} or self.run_folder.tested != "test":
            config.trainer.logger = False  # the run's own results stay what they are

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add what every run has: curves, record, evaluation, figures, predictions and the last checkpoint."""
        config = self._get(self.config_init, "trainer")
        run, seed = self.run_folder, self._option("seed_everything") or 0
        self._claim()
        given = config.get("logger") or []
        loggers = given if isinstance(given, list) else [given]
        if self.subcommand == "fit":
            loggers = [*loggers, CurvesLogger(run.curves)]
        rule = ObjectRule(self._option("object_iou"), self._option("object_connectivity"))
        objects = rule if self._option("objects") else None
        surface, workers, cuts = (self._option(name) for name in ("surface", "score_workers", "threshold"))
        evaluation = CaseEvaluation(run, bool(surface), objects, workers or 0, cuts)
        self.record = RunRecord(run, seed, hyperparameters(self.kept_config), self.subcommand or "fit")
        ours: list[Callback] = [
            self.record,
            evaluation,
            StageFigures(run, evaluation, to_loggers=self._option("log_media") != "never"),
            TrainingFigures(run, log_media=self._option("log_media")),
            RunProgress(),
            ProgressPicture(run),
            Opening(run, describe_loss(self.kept_config["model"]["loss"])),
            PrecisionCheck(),
            CalibrationComparison(run),
            PromiseCheck(run, evaluation),
            PredictionWriter(
                run,
                output=self._option("output"),
                threshold=cuts,
                settings={part: self.kept_config[part] for part in ("model", "data")},
            ),
            ModelCheckpoint(
                dirpath=run.checkpoints, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
            ),
        ]
        given = config.get("callbacks") or []
        theirs = given if isinstance(given, list) else [given]
        if config.get("enable_progress_bar") is not False and not any(isinstance(one, ProgressBar) for one in theirs):
            ours.append(progress_bar())
        config["callbacks"] = [*theirs, *ours]
        plugins = config.get("plugins") or []
        config["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpoints()]
        trainer = super().instantiate_trainer(logger=loggers or False, **kwargs)
        run_everywhere(trainer)
        return trainer

    def after_instantiate_classes(self) -> None:
        """Keep configuration and command, so that the run can be repeated from its folder."""
        if self.subcommand == "fit" and is_first_process():
            write_text(self.run_folder.config, yaml.safe_dump(self.kept_config, sort_keys=False))
            write_text(
                self.run_folder.path / "command.txt", shlex.join(["python", "-m", "lightning_app", *sys.argv[1:]])
            )

    def configure_optimizers(  # type: ignore[override]  # Lightning binds it to this object, with the options in reach
        self, lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: LRScheduler | None = None
    ) -> Any:
        """The optimizer and its schedule, by step or epoch."""
        return scheduled(optimizer, lr_scheduler, self._option("lr_interval"), lightning_module.trainer)

    def before_fit(self) -> None:
        """Find and split the cases before a logger tells a server of the run; go on from the run's own split."""
        most = self.trainer.max_epochs
        if self._option("ckpt_path") and not self._option("resume"):
            check_epochs(Path(self._option("ckpt_path")), most)
        check_stopping(self.trainer)
        if source := self._option("weights_from"):
            take_weights(self.model, Path(source))
        if self._option("resume"):
            tell_if_finished(self.run_folder, most)
        if is_first_process():
            self.datamodule.prepare_data()
        self._follow_split("val", "test")
        self.datamodule.setup("fit")
        if not (getattr(self.datamodule, "subsets", None) or {"val": True})["val"]:
            tell("no validation cases: every epoch trains, none is validated; the last checkpoint is kept")
            self.trainer.limit_val_batches = 0

    def before_validate(self) -> None:
        """Use the split of the training."""
        self._follow_split("val")

    def before_calibrate(self) -> None:
        """Use the split of the training."""
        self._follow_split("val")

    def before_test(self) -> None:
        """Use the split of the training, or the cases of another data set; damage them where asked."""
        if not self._option("test_data"):
            self._follow_split("test")
        self._shift(self._option("ckpt_path"))

    def _shift(self, checkpoint: str) -> None:
        asked = (self._option(name) for name in ("test_data", "test_root", "corrupt", "seed_everything"))
        self.datamodule = shifted(self.datamodule, checkpoint, *asked)

    def before_predict(self) -> None:
        """Use the split of the training where its test cases are predicted."""
        if not getattr(self.datamodule, "predict_root", None):
            self._follow_split("test")

    def after_fit(self) -> None:
        """Evaluate the kept checkpoint, on the test cases too where asked, and say where everything lies."""
        if self.trainer.fast_dev_run:
            return
        path = str(self.run_folder.scored)
        stages = []
        if self.trainer.limit_val_batches:
            self.trainer.validate(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
            stages.append("val")
        if self._option("test_after"):
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
            stages.append("test")
        self._finish(*stages)
        if self._option("test_data") or self._option("corrupt"):
            self._shift(path)
            with elsewhere(self.trainer, self.run_folder, self._option("test_data"), self._option("corrupt")):
                self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=False)
                self._finish("test")
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
        writer = next(callback for callback in self.trainer.callbacks if isinstance(callback, PredictionWriter))
        if self.trainer.is_global_zero:
            print_predictions(writer.folder, writer.cases)

    def _finish(self, *stages: str) -> None:
        if self.trainer.is_global_zero:
            print_summary(self.run_folder, stages, self.trainer.loggers)

    def _channels(self, num_classes: int, regions: Any) -> int:
        """Output channels of the network."""
        return output_channels(num_classes, regions, self._get(self.config, "model.binary"))

    def _keep(self, config: Any) -> dict[str, Any]:
        """The resolved configuration as plain data, less what belongs to one call of the program."""
        text = self._parser(self.subcommand).dump(config, skip_none=False)
        return {key: value for key, value in yaml.safe_load(text).items() if key not in NOT_KEPT}

    def _option(self, name: str) -> Any:
        """A value of the command line or the configuration."""
        return self._get(self.config_init, name)

    def _follow_split(self, *parts: str) -> None:
        """Divide the data as the run did that the weights come from."""
        source = self._option("resume") or self._option("ckpt_path") or self._option("weights_from")
        if not source:
            return
        run = RunFolder(Path(source)) if self._option("resume") else RunFolder.of_checkpoint(source)
        if run is None:
            tell(f"{source} lies in no run folder: which cases its network was trained on is not known")
            return
        follow(self.datamodule, run, self.kept_config["data"].get("init_args") or {}, parts)

    def _claim(self) -> None:
        """Make the run folder, or claim it where this program writes checkpoints; clear what a kill left in it."""
        run = self.run_folder
        if not is_first_process() or self.subcommand is None:
            return
        if self.is_new:
            self.claim = run.make()
        elif self.subcommand in {"fit", "calibrate"}:
            self.claim = claim(run.path, "a training runs")
            run.remove_leftovers()

    def _end_badly(self, error: BaseException) -> None:
        """Leave nothing of a start that failed; say how to go on after a stop, and which process failed first."""
        end_wandb(1)
        if self.record is None or not is_first_process():
            return
        run = self.run_folder
        if self.is_new and not self.record.begun and (self.subcommand == "fit" or run.is_empty()):
            shutil.rmtree(run.path, ignore_errors=True)
        elif self.subcommand == "fit" and self.record.interrupted:
            tell(f"stopped; go on with: python -m lightning_app fit --resume {shlex.quote(str(run))}")
            raise SystemExit(STOPPED) from None
        elif self.subcommand == "fit" and not is_users(error):
            state = run.read_state()
            if state.get("process"):
                raise UserError(f"process {state['process']} failed: {state.get('error')}") from error

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
        if logger.class_path.rpartition(".")[2] == MLFlowLogger.__name__:
            logger.class_path = f"{RunMLFlowLogger.__module__}.{RunMLFlowLogger.__name__}"
            configure_mlflow(options, self.run_folder.path.parent.absolute(), self._labels().get("name"))

    def _labels(self) -> dict[str, Any]:
        """What W&B shows of the run."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        in_sweep = "WANDB_RUN_GROUP" in os.environ  # where the runner names the folder
        name = None if in_sweep else config.run_name
        return run_labels(self.kept_config, self.subcommand or "fit", name, recipe_of(config.get("config") or []))


def run_training(args: list[str], run: bool = True) -> TrainingCLI:
    """Parse the command line of a training verb, build its objects and run it, or only build them."""
    quieten()
    cli = TrainingCLI(args, run)
    end_wandb(0)
    return cli
