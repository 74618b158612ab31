"""What every loss does with its two arguments before it computes: check, flatten, choose the precision.

Shape letters: B items, K channels, N voxels of one item, n voxels of a chunk, G items of a chunk.
"""

import torch
from torch import Tensor

#: Label that marks a chunk's voxel as "does not count", whatever ``ignore_index`` the user chose.
IGNORED = 255


def flatten_pair(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Check a pair of logits and target and join the spatial axes.

    Args:
        logits: ``(B, K, *S)``, floating point; ``K = 1`` means two classes with a background logit of 0.
        target: ``(B, *S)`` integer labels, or ``(B, K, *S)`` floating-point soft labels.

    Returns:
        ``(B, K, N)`` logits and ``(B, N)`` labels or ``(B, K, N)`` soft labels (``K = 2`` where the logits have one
        channel), views wherever the memory layout allows it.

    Raises:
        ValueError: If a shape or a type does not fit.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise ValueError(f"logits must be a floating-point tensor, got {getattr(logits, 'dtype', type(logits))}")
    if logits.ndim < 3 or logits.shape[1] < 1:
        raise ValueError(
            f"logits must have the shape (B, K, *S) with at least one spatial axis, got {tuple(logits.shape)}"
        )
    if not logits.numel():
        raise ValueError(f"logits must hold at least one item and one voxel, got the shape {tuple(logits.shape)}")
    if logits.shape[1] >= IGNORED:
        raise ValueError(f"logits must have fewer than {IGNORED} channels, got {logits.shape[1]}")
    if logits.device.type == "mps":
        raise ValueError(
            "the losses sum in double precision, which mps lacks: compute loss(logits.cpu(), target.cpu()), or train "
            "with --trainer.accelerator cpu"
        )
    shape = (logits.shape[0], *logits.shape[2:])
    if target.is_floating_point():
        return logits.flatten(2), _flatten_soft(logits, target, shape)
    if tuple(target.shape) != shape:
        raise ValueError(
            f"target must have the shape {shape} to fit logits {tuple(logits.shape)}, got {tuple(target.shape)}"
            + _cure(logits, target)
        )
    return logits.flatten(2), (target.to(torch.uint8) if target.dtype == torch.bool else target).flatten(1)


def _cure(logits: Tensor, target: Tensor) -> str:
    """What to do about a target whose shape does not fit, where that is plain."""
    cast = ".long()" if target.is_floating_point() else ""
    if target.shape == (logits.shape[0], 1, *logits.shape[2:]):
        return f": labels have no channel axis here, pass target[:, 0]{cast}"
    if target.shape == logits.shape:
        return ": pass one-hot labels as target.argmax(1), or as soft labels, target.float()"
    if target.shape == (logits.shape[0], *logits.shape[2:]):
        return f": pass labels as integers, target{cast}"
    return ""


def _flatten_soft(logits: Tensor, target: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Check soft labels and give a two-class target its second channel."""
    channels = logits.shape[1]
    allowed = {(shape[0], k, *shape[1:]) for k in ({1, 2} if channels == 1 else {channels})}
    if tuple(target.shape) not in allowed:
        expected = " or ".join(str(s) for s in sorted(allowed))
        raise ValueError(
            f"target with soft labels must have the shape {expected}, got {tuple(target.shape)}{_cure(logits, target)}"
        )
    soft = target.detach().flatten(2)
    if soft.shape[1] == 1:
        # One channel of soft labels is the foreground; a negative or NaN value marks a voxel that does not count.
        counted = soft >= 0
        soft = torch.cat([1 - soft, soft], dim=1).where(counted, soft.new_zeros(()))
    if soft.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_soft(soft)
    return soft


def _check_soft(soft: Tensor) -> None:
    """Raise on soft labels that are no shares of classes; half precision rounds their sum by up to a hundredth."""
    low, high = (float(v) for v in torch.aminmax(soft))
    if not (low >= 0 and high <= 1.01):
        raise ValueError(f"target with soft labels must lie between 0 and 1, found values from {low:g} to {high:g}")
    total = soft.sum(1)
    wrong = ((total - 1).abs() > 0.01) & (total != 0)
    if bool(wrong.any()):
        raise ValueError(
            f"the channels of a target with soft labels must sum to 1, or to 0 where a voxel does not count; found "
            f"{float(total[wrong][0]):g} at {int(wrong.sum())} voxels"
        )


def compute_dtype(logits: Tensor) -> torch.dtype:
    """Double stays double; everything else is computed in single precision."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def two_channels(logits: Tensor) -> Tensor:
    """Give one-channel logits ``(G, 1, n)`` their background logit of 0; leave others as they are."""
    return logits if logits.shape[1] > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)


def compact_labels(target: Tensor, num_classes: int, ignore_index: int | None, check: bool = True) -> Tensor:
    """Labels of a chunk as ``uint8`` with :data:`IGNORED` at voxels that do not count.

    Args:
        target: Labels of any integer type.
        num_classes: Classes K.
        ignore_index: Label that does not count.
        check: Whether labels that are no class are looked for.

    Raises:
        ValueError: If a counted label is no class (looked for on the CPU only: on a GPU it would stop the stream).
    """
    labels = target if target.dtype == torch.uint8 else target.to(torch.uint8)
    if ignore_index is not None and ignore_index != IGNORED:
        labels = labels.masked_fill(target == ignore_index, IGNORED)
    if check and labels.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_labels(target, labels, num_classes, ignore_index)
    return labels


def _check_labels(target: Tensor, labels: Tensor, num_classes: int, ignore_index: int | None) -> None:
    """Raise on a label that is neither a class nor ignored; cheap where every label is a class."""
    wide = target.dtype != torch.uint8
    low, high = (int(v) for v in torch.aminmax(target)) if wide else (0, int(labels.max()))
    if low >= 0 and high < num_classes:
        return
    bad = (target < 0) | (target >= num_classes)
    if ignore_index is not None:
        bad &= target != ignore_index
    if bool(bad.any()):
        value = int(target[bad][0])
        raise ValueError(
            f"target holds the label {value}, but the logits have classes 0 to {num_classes - 1} "
            f"and ignore_index is {ignore_index}"
        )


def all_counted(labels: Tensor, num_classes: int) -> bool:
    """Whether no voxel of a checked chunk is ignored; only the CPU can answer without stopping the stream."""
    return labels.device.type == "cpu" and not torch.compiler.is_compiling() and int(labels.max()) < num_classes
