"""What a network with valid convolutions leaves of an image's grid."""

from collections.abc import Sequence

from torch import Tensor


def center_crop(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The centre of the last axes of `tensor`, of the given spatial shape: what valid convolutions leave."""
    first = tensor.ndim - len(shape)
    for axis, size in enumerate(shape, start=first):
        tensor = tensor.narrow(axis, (tensor.shape[axis] - size) // 2, size)
    return tensor
