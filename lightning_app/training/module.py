"""The training module: a network and a loss as objects, metrics by name, evaluation on the original grid."""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import MeanMetric

import losses
import metrics
from lightning_app.calibration import cases as case_promises
from lightning_app.calibration import registry, risk
from lightning_app.errors import UserError
from lightning_app.training import drift
from lightning_app.training.checkpoint_files import check_finite
from lightning_app.training.head import Binary, make_head
from lightning_app.training.run_folder import STAGES
from lightning_app.training.scoring import ScoringPool
from lightning_app.training.stage import data_of
from losses.wrappers import call
from models import Averaged, Inference, Network, adaptive_norm, entropy
from models.network import center_crop
from models.sliding_window import pad_to

PADDING = 0.1  # share of the input from which on it is told that padding shifts an instance norm
COMPONENTS_EVERY = 10  # steps: the parts of a compound loss cost a forward pass of their own


class SegmentationModule(LightningModule):
    """Trains and evaluates one network with one loss.

    The numbers of channels and classes come from the data module by argument links. While training, validation scores
    the network's own grid; `validate`, `test` and the end of `fit` score each case on its original grid.

    Args:
        net: The network, `(B, C, *S)` to `(B, K, *S)` logits, or a list of them, finest first (deep supervision).
        loss: The loss of logits and labels.
        binary: For two-class data, `softmax` over two channels or one `sigmoid` channel.
        inference: How a whole image is predicted: tiles, test-time augmentation, ensembles; none runs it as it is.
        channels_last: Lay tensors out with channels last, faster on recent CPUs and GPUs, mostly with bf16.
        num_classes: Number of classes, linked from the data.
        class_names: Names of the classes, background first, linked from the data.
        padding: What fills beyond an image, `zero` or its `minimum`, linked from the data, which train with it.
        regions: Regions that may overlap, linked from the data where they have some.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        binary: Binary = "softmax",
        inference: Inference | None = None,
        channels_last: bool = False,
        num_classes: int = 2,
        class_names: Sequence[str] = ("background", "foreground"),
        padding: Literal["zero", "minimum"] = "zero",
        regions: Any = None,
    ) -> None:
        super().__init__()
        self.head = make_head(num_classes, class_names, regions, binary)
        self.head.check(net)
        self.head.objective(loss)  # refuses a loss that cannot be one
        self.net = net
        self.loss = loss
        self.inference, self.padding = inference, padding
        if inference is not None:
            inference.pad_as(padding)
            inference.activate_by(self.head.activation)
        self.channels_last = channels_last
        self.class_names = self.head.names
        self.strict_loading = False  # the weights are compared in on_load_checkpoint; another loss may be evaluated
        self.val_loss = MeanMetric(nan_strategy="disable")  # every process takes part, also one without a case
        self.train_dice = metrics.DiceScore(self.head.num_classes)
        self.scorers = nn.ModuleDict({stage: self.head.scorer() for stage in STAGES})
        self._pool: ScoringPool | None = None
        self._finished: frozenset[str] = frozenset()
        self.calibrator: nn.Module | None = None
        self.calibrator_method = ""
        self.calibrator_cases: frozenset[str] = frozenset()
        self.thresholds: list[float] | None = None
        self.promises: risk.Promises = {}
        self.case_promises: case_promises.CasePromises = {}
        self.promised_traits: drift.Traits = {}  # of the cases that these were made from
        self._step_cases: list[str] = []  # since the last step
        self._check_window()
        whole = self.inference is None or self.inference.window is None
        self._shifted_norm = adaptive_norm(net) if whole else None  # None once told

    def setup(self, stage: str) -> None:
        """Choose the memory format once the weights exist."""
        if self.channels_last:
            layout = torch.channels_last_3d if self._spatial_rank() == 3 else torch.channels_last
            self.net.to(memory_format=layout)

    def score_in(self, pool: ScoringPool | None) -> None:
        """Let processes of this pool score the cases from now on; none: this process does."""
        self._pool = pool

    def leave_out(self, cases: Collection[str]) -> None:
        """Predict nothing for these cases, whose files exist."""
        self._finished = frozenset(cases)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of the network; the whole list where it has deep supervision.

        Raises:
            ValueError: If the network refuses the image, or gives a number of channels that is not that of the classes.
        """
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last_3d if image.ndim == 5 else torch.channels_last)
        try:
            logits = self.net(image)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            told = f"network {type(self.net).__name__} cannot take an image batch of shape {tuple(image.shape)}"
            if not type(self.net).__module__.startswith("models."):
                error.add_note(told)  # a network of the user's: its traceback shows where
                raise
            raise UserError(f"{told}: {error}") from error
        finest = logits[0] if isinstance(logits, list | tuple) else logits
        if finest.shape[1] != self.head.channels:
            raise ValueError(
                f"network {type(self.net).__name__} gives {finest.shape[1]} channels, the data need "
                f"{self.head.channels} ({', '.join(self.class_names)}): set the network's number of output channels"
            )
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch; logs it, its components and the batch's hard Dice.

        Raises:
            UserError: If the loss is not finite; the message names the step's cases.
        """
        self._step_cases += batch["case"]
        logits = self(batch["image"])
        finest = logits[0] if isinstance(logits, list | tuple) else logits
        mask = center_crop(batch["mask"], finest.shape[2:])
        loss = self._loss(logits, mask)
        if not torch.isfinite(loss):
            raise UserError(self._not_finite("loss", loss.item()))
        size = len(batch["case"])
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        with torch.no_grad():
            dice = self.train_dice(*self.head.items(self.head.activation(finest.detach()), mask))
            components = getattr(self.head.objective(self.loss), "components", None)
            if components and self.global_step % COMPONENTS_EVERY == 0:
                parts = components(finest.detach(), self.head.taught(mask))
                self.log_dict({f"train/loss_{name}": part for name, part in parts.items()}, batch_size=size)
        self.log("train/dice", dice, prog_bar=True, batch_size=size)
        self.train_dice.reset()
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Look at the gradient before it changes the weights.

        Raises:
            UserError: If it is not finite; the message names the step's cases. Under fp16 its scaler skips such steps.
        """
        cases, self._step_cases = self._step_cases, []
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return
        gradients = [weight.grad for weight in self.net.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            self._step_cases = cases
            raise UserError(self._not_finite("gradient's norm", norm.item()))

    def _not_finite(self, what: str, value: float) -> str:
        return (
            f"the {what} is {value} at step {self.global_step} on cases {', '.join(self._step_cases)}: training "
            f"stopped before this step changed the weights; try a smaller learning rate, or check these images"
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Evaluate one case: `probs` on the network's grid and, unless training is under way, on the `original` one."""
        self._tell_of_padding(batch)
        if not self._training():
            return self._evaluate(batch, "val")
        if self.inference is None:
            logits = self._finest(batch["image"])
            probs = self.head.activation(logits)
        else:
            # The logits of probabilities give them back, so losses of probabilities are exact under tiling.
            probs = self.probabilities(batch["image"]).to(batch["image"].device)
            logits = self.head.logits(probs)
        mask = center_crop(batch["mask"], logits.shape[2:])
        self.val_loss.update(self._loss(logits, mask))
        true_probs = center_crop(batch["true_probs"], logits.shape[2:]) if "true_probs" in batch else None
        scored, labels, known = self.head.scored(probs, mask, true_probs)
        self._scorer("val").update(scored, labels, true_probs=known)
        return {"probs": probs}

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics; only during training do they enter the curves."""
        if self._training():
            self.log("val/loss", self.val_loss.compute(), sync_dist=True)
            self.val_loss.reset()
        self._log_metrics("val", logger=self._training())

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Evaluate one case: `probs` on the network's grid and on the `original` one."""
        case = batch["case"][0]
        if case in self.calibrator_cases:
            raise UserError(f"case {case} was used to calibrate: test with the split of the training")
        self._tell_of_padding(batch)
        return self._evaluate(batch, "test", calibrated=True)

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_metrics("test", logger=True)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Probabilities of one new case on its `original` grid; nothing for a case whose files exist.

        Where `inference` averages members, also two maps in nats on that grid: the `entropy` of these probabilities,
        and the `mutual_information` of label and member, which a calibrator leaves as it is.
        """
        if batch["case"][0] in self._finished:
            return {}
        self._tell_of_padding(batch)
        image, geometry = batch["image"], batch["geometry"][0]
        if not isinstance(self.inference, Averaged):
            probs = self._calibrated(self.probabilities(image), image)
            return {"original": self.head.restore(probs[0], geometry)[None]}
        mean, _, information = self.inference.uncertainty(image, self._finest)
        original = self.head.restore(self._calibrated(self._inferred(mean), image)[0], geometry)[None]
        most = self.head.largest_entropy
        information = most * restore_share(information[0] / most, geometry)[None]
        return {"original": original, "entropy": entropy(original), "mutual_information": information}

    def probabilities(self, image: Tensor) -> Tensor:
        """Class probabilities `(B, K, *S)` float32 of images `(B, C, *S)`, tiled where the module has `inference`.

        Where valid convolutions leave less than the image, it is padded by what they cut, with the data's filling.
        """
        if self.inference is not None:
            return self._inferred(self.inference(image, self._finest))
        logits = self._finest(image)
        size = [2 * whole - left for whole, left in zip(image.shape[2:], logits.shape[2:], strict=True)]
        if size == list(image.shape[2:]):
            return self.head.activation(logits)
        extent = self.net.legal_sizes.up(size) if isinstance(self.net, Network) else size
        low = [(padded - whole) // 2 for padded, whole in zip(extent, image.shape[2:], strict=True)]
        logits = self._finest(pad_to(image, low, extent, self.padding))
        return self.head.activation(center_crop(logits, image.shape[2:]))

    def _inferred(self, probs: Tensor) -> Tensor:
        """What an inference gave, after a look that it made probabilities as the head does."""
        if probs.shape[1] != self.head.maps:
            raise ValueError(
                f"inference {type(self.inference).__name__} gives {probs.shape[1]} maps, {self.head.maps} are needed: "
                "make them of the logits by self.activation"
            )
        return probs

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another network in words.

        Raises:
            UserError: If names or shapes of the weights differ, or weights are not finite.
        """
        check_finite(checkpoint, "the checkpoint")
        theirs = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith("net.")}
        ours = {key: value for key, value in self.state_dict().items() if key.startswith("net.")}
        different = [key for key in ours if key not in theirs or theirs[key].shape != ours[key].shape]
        different += [key for key in theirs if key not in ours]
        if different:
            raise UserError(
                f"the checkpoint is of another network: {len(different)} weights differ from {type(self.net).__name__} "
                f"as configured, first {different[0]!r}; give the config it was trained with"
            )
        if self._trainer is not None and not self._training():
            self._restore_calibrator(checkpoint)

    def _restore_calibrator(self, checkpoint: dict[str, Any]) -> None:
        found = registry.restore(checkpoint)
        if found is not None:
            calibrator, record = found
            self.calibrator = calibrator.to(self.device)
            self.calibrator_method, self.calibrator_cases = record["method"], frozenset(record["cases"])
            self.thresholds = record["thresholds"]
        if promised := checkpoint.get(risk.KEY):
            self.promises = risk.from_record(promised["promises"])
            self._know_cases(promised)
        if promised := checkpoint.get(case_promises.KEY):
            self.case_promises = case_promises.from_record(promised["promises"])
            self._know_cases(promised)

    def _know_cases(self, promised: dict[str, Any]) -> None:
        """Take in which cases a promise was made from; both kinds are made from the same."""
        self.calibrator_cases |= frozenset(promised["cases"])
        self.promised_traits = drift.from_record(promised.get(drift.KEY)) or self.promised_traits

    def _evaluate(self, batch: dict[str, Any], stage: str, calibrated: bool = False) -> dict[str, Tensor]:
        raw = self.probabilities(batch["image"]).to(batch["image"].device)  # where the metrics are
        probs = self._calibrated(raw, batch["image"]) if calibrated else raw
        geometry = batch["geometry"][0]
        outputs = {"probs": probs, "original": self.head.restore(probs[0], geometry)[None]}
        if probs is not raw:
            outputs["uncalibrated"] = self.head.restore(raw[0], geometry)[None]
        self._score(stage, outputs["original"], batch, geometry.spacing)
        return outputs

    def _score(self, stage: str, probs: Tensor, batch: dict[str, Any], spacing: Sequence[float]) -> None:
        """Score the case on its original grid, here or in a process of its own."""
        scorer = self._scorer(stage)
        scored, labels, known = self.head.scored(probs, batch["original_mask"], batch.get("true_probs"))
        raters = None if self.head.regions else batch.get("original_raters")
        if self._pool is None:
            scorer.update(scored, labels, spacing, known, batch["case"], raters)
        else:
            true = None if known is None else known[0]
            several = None if raters is None else raters[0]
            self._pool.submit(scorer, batch["case"][0], scored[0], labels[0], spacing, true, several)

    def _calibrated(self, probs: Tensor, image: Tensor) -> Tensor:
        """Probabilities after the calibrator that the checkpoint holds, if it holds one."""
        if self.calibrator is None:
            return probs
        # a sliding window may keep its result in main memory
        image = center_crop(image, probs.shape[2:]).to(probs.device)
        return self.calibrator.to(probs.device)(probs, image)

    def _check_window(self) -> None:
        """Refuse a window that the network cannot take, before hours are spent."""
        window = self.inference.window if self.inference is not None else None
        if window and isinstance(self.net, Network) and not self.net.legal_sizes.allows(window):
            sizes = self.net.legal_sizes
            raise ValueError(
                f"inference.window {list(window)} does not suit {type(self.net).__name__}: it takes "
                f"{sizes.describe(len(window))}; next: {list(sizes.up(window))}"
            )

    def _tell_of_padding(self, batch: dict[str, Any]) -> None:
        """Warn, once, where the network was trained on patches and sees a case with much padding around it.

        On hippocampus a quarter of padding cost 0.07 Dice, a half 0.14 (docs/models.md).
        """
        patch = getattr(data_of(self.trainer), "patch_size", None)
        if self._shifted_norm is None or patch is None or tuple(batch["image"].shape[2:]) == tuple(patch):
            return
        share = batch["geometry"][0].padding()
        if share > PADDING:
            window = f"[{','.join(map(str, patch))}]"
            rank_zero_warn(
                f"case {batch['case'][0]}: {share:.0%} of what the network sees is padding, which shifts the "
                f"statistics of {self._shifted_norm} against those of the training patches. Predict in tiles of their "
                f"size: --model.inference models.SlidingWindow --model.inference.window {window} --data.divisor 1",
                category=UserWarning,
            )
            self._shifted_norm = None

    def _scorer(self, stage: str) -> metrics.Scorer:
        scorer = self.scorers[stage]
        assert isinstance(scorer, metrics.Scorer)  # as a ModuleDict does not know
        return scorer

    def _log_metrics(self, stage: str, logger: bool) -> None:
        scorer = self._scorer(stage)
        values = scorer.compute()
        logger = logger and bool(self.trainer.loggers)
        # Each process holds the same values already; sync_dist only spares Lightning its doubt.
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, logger=logger, sync_dist=True)
        scorer.reset()

    def _loss(self, logits: Tensor | list[Tensor], mask: Tensor) -> Tensor:
        objective, target = self.head.objective(self.loss), self.head.taught(mask)
        if isinstance(logits, list | tuple):
            return losses.DeepSupervisionLoss(objective)(logits, target)
        return call(objective, logits, target)

    def _finest(self, image: Tensor) -> Tensor:
        logits = self(image)
        return logits[0] if isinstance(logits, list | tuple) else logits

    def _training(self) -> bool:
        return self.trainer.state.fn == TrainerFn.FITTING

    def _spatial_rank(self) -> int:
        return next(weight.ndim - 2 for weight in self.net.parameters() if weight.ndim >= 4)


def restore_share(values: Tensor, geometry: Any) -> Tensor:
    """Bring a map `(*S)` of numbers in [0, 1] to the original grid, as the probability of a class is brought there."""
    return geometry.restore(torch.stack([1 - values, values]))[1]
