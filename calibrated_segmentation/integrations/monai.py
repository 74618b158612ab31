"""Our losses, metrics and calibrators in MONAI: its label shapes, its metric protocol, its transforms."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric
from monai.transforms import MapTransform, Transform
from torch import Tensor, nn
from torchmetrics import Metric

from calibrated_segmentation import models


class MONAILoss(nn.Module):
    """One of our losses for MONAI's targets: labels with a channel `(B, 1, *S)`, or one-hot `(B, K, *S)`.

    Args:
        loss: A loss of logits `(B, K, *S)` and labels `(B, *S)`, or soft labels `(B, K, *S)`.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import losses
        >>> logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 1, 8, 8))
        >>> bool(MONAILoss(losses.DiceLoss())(logits, labels) == losses.DiceLoss()(logits, labels[:, 0]))
        True
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Loss of logits `(B, K, *S)` and a target as MONAI's own losses take it."""
        return self.loss(input, without_channel(input, target, one_hot=True))


class CalibrationMetric(CumulativeIterationMetric):
    """One of our metrics as MONAI's, for a loop of yours or an `IgniteMetricHandler`: exact, pooled over processes.

    Each item of a batch, or of a list of channel-first maps of any sizes, is a case: `get_buffer` has its value alone,
    `aggregate` the metric's own value over all.

    Args:
        metric: A metric of probabilities `(B, K, *S)` and labels `(B, *S)`, such as `metrics.ExpectedCalibrationError`.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import metrics
        >>> ece = CalibrationMetric(metrics.ExpectedCalibrationError(num_classes=2))
        >>> probs = torch.tensor([[0.25, 0.25], [0.75, 0.75]])  # sure to three quarters, right in one of two
        >>> _ = ece(y_pred=[probs], y=[torch.tensor([[1, 0]])])
        >>> float(ece.aggregate())
        0.25
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.metric = metric

    def _compute_tensor(self, y_pred: Tensor, y: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Add a batch; its items' own values `(B, 1)`."""
        if y is None:
            raise ValueError("a calibration metric needs the labels: give y beside y_pred")
        self.metric.to(y_pred.device)
        labels = without_channel(y_pred, y)
        values = [self.metric(probs[None], label[None]) for probs, label in zip(y_pred, labels, strict=True)]
        return torch.stack(values).reshape(-1, 1)

    def aggregate(self, *args: Any, **kwargs: Any) -> Tensor:
        """The metric over everything seen, on all processes."""
        return self.metric.compute()

    def reset(self) -> None:
        """Forget what was seen."""
        super().reset()
        if hasattr(self, "metric"):  # MONAI's constructor resets before there is one
            self.metric.reset()


class CalibratedProbabilities(Transform):
    """Post-transform: a fitted calibrator on a probability map `(K, *S)`; put it after `Activations(softmax=True)`.

    Args:
        calibrator: A fitted calibrator that reads no image.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import models
        >>> flat = models.TemperatureScaling(num_classes=2)
        >>> _ = flat.log_temperature.data.fill_(100.0)  # so hot that nothing is left to say
        >>> CalibratedProbabilities(flat)(torch.tensor([[0.9], [0.1]])).flatten().tolist()
        [0.5, 0.5]
    """

    def __init__(self, calibrator: models.Calibrator) -> None:
        self.calibrator = calibrator

    def __call__(self, probs: Tensor) -> Tensor:
        """Calibrated probabilities of the same shape, and the same metadata where it carries any."""
        calibrated = self.calibrator.to(probs.device)(torch.as_tensor(probs).as_subclass(Tensor)[None])[0]
        return MetaTensor(calibrated, meta=probs.meta) if isinstance(probs, MetaTensor) else calibrated


class CalibratedProbabilitiesd(MapTransform):
    """`CalibratedProbabilities` for entries of a dictionary.

    Args:
        keys: Keys of the probability maps.
        calibrator: A fitted calibrator that reads no image.
        allow_missing_keys: Pass over keys that are not there.

    Example:
        >>> import torch
        >>> from calibrated_segmentation import models
        >>> calibrate = CalibratedProbabilitiesd("pred", models.TemperatureScaling(num_classes=2))
        >>> calibrate({"pred": torch.tensor([[0.75], [0.25]]), "label": None})["pred"].flatten().tolist()
        [0.7500000596046448, 0.25]
    """

    def __init__(self, keys: KeysCollection, calibrator: models.Calibrator, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = CalibratedProbabilities(calibrator)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its maps calibrated."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key])
        return result


def without_channel(logits: Tensor, target: Tensor, one_hot: bool = False) -> Tensor:
    """Labels `(B, *S)` of a target that has a channel; a one-hot target as soft labels or, if asked, as labels.

    Args:
        logits: `(B, K, *S)`, for the shape.
        target: `(B, *S)`, `(B, 1, *S)` or one-hot `(B, K, *S)`.
        one_hot: Keep one-hot targets as soft labels, float, in place of their label.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 1]]])  # (B, 1, *S)
        >>> without_channel(torch.zeros(1, 2, 2), labels).tolist()
        [[0, 1]]
    """
    target = target.as_subclass(Tensor)
    if target.ndim < logits.ndim:
        return target.long()
    if target.shape[1] == 1:
        return target[:, 0].long()
    return target.float() if one_hot else target.argmax(1)
