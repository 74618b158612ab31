"""Labels for scores and pictures, whatever the losses are taught."""

from torch import Tensor

IGNORED = 255


def hard_labels(mask: Tensor, probs: Tensor) -> Tensor:
    """Labels `(B, *S)` of a mask that may be soft, `(B, K, *S)`: what most raters say, 255 where the shares are all 0.

    Args:
        mask: Labels, or the share of the raters for each class.
        probs: Probabilities or logits `(B, K, *S)`, which tell the number of axes.
    """
    return mask if mask.ndim < probs.ndim else mask.argmax(1).masked_fill(mask.sum(1) == 0, IGNORED)
