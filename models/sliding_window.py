"""Inference in tiles over images and volumes of any size."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .activation import Exclusive
from .network import choice, positive, region
from .onnx_runner import tile_starts

Predict = Callable[[Tensor], Tensor]


class Inference(ABC):
    """Base of the ways to get class probabilities of one whole image from a network.

    `window` is the size of the tiles that the network sees, or None where it sees the image whole. `activation` makes
    probabilities of logits: softmax over classes, unless the network's channels are regions that may overlap.

    Example:
        >>> import torch
        >>> from models import Inference
        >>> class Upright(Inference):
        ...     def __call__(self, image, predict):
        ...         return self.activation(predict(image.transpose(2, 3)).transpose(2, 3))
        >>> Upright()(torch.zeros(1, 1, 6, 8), lambda image: torch.cat([image, image], 1)).shape
        torch.Size([1, 2, 6, 8])
    """

    window: tuple[int, ...] | None = None
    activation: Exclusive = Exclusive()

    def activate_by(self, activation: Exclusive) -> None:
        """Take what makes probabilities of the network's logits."""
        self.activation = activation

    def pad_as(self, padding: str) -> None:  # noqa: B027, one that never pads has nothing to do
        """Fill what hangs over an image as its data do in training, unless another filling was chosen."""

    @abstractmethod
    def __call__(self, image: Tensor, predict: Predict) -> Tensor:
        """Probabilities ``(1, K, *S)`` float32 of one image ``(1, C, *S)``.

        Args:
            image: one whole case, on the device where it is to be predicted.
            predict: maps images ``(n, C, *w)`` to logits ``(n, K, *w)``; one channel is the logit of class 1
                against background.
        """


class WholeImage(Inference):
    """The network sees each image whole, in one forward pass.

    Example:
        >>> import torch
        >>> from models import UNet, WholeImage
        >>> net = UNet(in_channels=1, width=2, depth=2).eval()
        >>> WholeImage()(torch.zeros(1, 1, 16, 24), net).shape
        torch.Size([1, 2, 16, 24])
    """

    @torch.no_grad()
    def __call__(self, image: Tensor, predict: Predict) -> Tensor:
        """Probabilities of the image; see the base."""
        return self.activation(predict(image))


class SlidingWindow(Inference):
    r"""Class probabilities of a whole image from overlapping tiles, blended.

    At voxel x, :math:`p(x) = \sum_t w_t(x)\, p_t(x)` over the tiles t that cover it, with :math:`\sum_t w_t(x) = 1`
    everywhere. The weight is a product over axes, so it is made to sum to one axis by axis and no map of counts
    is kept. Averaging **probabilities** keeps them probabilities; averaging logits, as nnU-Net does, sharpens where
    tiles disagree (offered for comparison). Images smaller than the window are padded and the result cropped back.
    A network with valid convolutions may return less than the window: then tiles are laid by what it returns.

    Args:
        window: size of a tile, one number an axis; must be legal for the network.
        overlap: share of a tile that the next one covers again, at least (tiles are spread evenly).
        blend: weight of a tile: falling off as a Gaussian of sigma 1/8 tile, or constant.
        batch_size: tiles that the network sees at once.
        average: average the probabilities or the logits of overlapping tiles.
        storage: where the result is summed and stays: on the image's device, in main memory (so that a large
            volume needs no device memory), or in a temporary file mapped into memory (for results larger than that).
        padding: fill beyond the image as the data do in training (the module says how; zeros without one), with zeros,
            with the image's smallest value, or with its nearest voxel.

    Raises:
        ValueError: if an argument is out of range, or the image does not fit the window's axes.

    Example:
        >>> import torch
        >>> from models import SlidingWindow, UNet
        >>> net = UNet(in_channels=1, width=2, depth=2).eval()
        >>> probs = SlidingWindow(window=[16, 16], overlap=0.5)(torch.zeros(1, 1, 37, 50), net)
        >>> probs.shape, bool((probs.sum(1) - 1).abs().max() < 1e-5)
        (torch.Size([1, 2, 37, 50]), True)
    """

    window: tuple[int, ...]

    def __init__(
        self,
        window: list[int],
        overlap: float = 0.5,
        blend: Literal["gaussian", "constant"] = "gaussian",
        batch_size: int = 4,
        average: Literal["probabilities", "logits"] = "probabilities",
        storage: Literal["device", "memory", "disk"] = "device",
        padding: Literal["data", "zero", "minimum", "nearest"] = "data",
    ) -> None:
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap must be in [0, 1), got {overlap}")
        self.window = tuple(positive("window", int(n)) for n in window)
        self.overlap = overlap
        self.blend = choice("blend", blend, ("gaussian", "constant"))
        self.batch_size = positive("batch_size", batch_size)
        self.average = choice("average", average, ("probabilities", "logits"))
        self.storage = choice("storage", storage, ("device", "memory", "disk"))
        self.padding = choice("padding", padding, ("data", "zero", "minimum", "nearest"))
        self._returned: tuple[int, ...] = self.window

    def __repr__(self) -> str:
        """The window and how it is blended."""
        return (
            f"SlidingWindow(window={list(self.window)}, overlap={self.overlap}, blend={self.blend!r}, "
            f"batch_size={self.batch_size}, average={self.average!r})"
        )

    def pad_as(self, padding: str) -> None:
        """Take the data's filling where none was chosen."""
        if self.padding == "data":
            self.padding = choice("padding", padding, ("zero", "minimum"))

    @torch.no_grad()
    def __call__(self, image: Tensor, predict: Predict) -> Tensor:
        """Probabilities ``(1, K, *S)`` float32 of one image ``(1, C, *S)``.

        Args:
            image: one whole case, on the device where tiles are to be predicted.
            predict: maps tiles ``(n, C, *window)`` to logits ``(n, K, *w)``, ``w`` at most the window; one channel
                is the logit of class 1 against background.
        """
        if image.shape[0] != 1 or image.dim() != len(self.window) + 2:
            raise ValueError(
                f"a window of {len(self.window)} axes takes one image (1, channels, axes), got {tuple(image.shape)}"
            )
        try:
            return self._blended(image, predict)
        except _Returned as found:  # a valid network: lay the tiles anew by what it returns
            self._returned = found.size
            return self._blended(image, predict)

    def _blended(self, image: Tensor, predict: Predict) -> Tensor:
        """Tile, predict and sum."""
        size, returned = tuple(image.shape[2:]), self._returned
        borders = [(w - r) // 2 for w, r in zip(self.window, returned, strict=True)]
        grid = tuple(max(s, r) for s, r in zip(size, returned, strict=True))
        low = [(g - s) // 2 for g, s in zip(grid, size, strict=True)]
        extent = [g + w - r for g, w, r in zip(grid, self.window, returned, strict=True)]
        padded = pad_to(image, [a + b for a, b in zip(low, borders, strict=True)], extent, self.padding)
        total: Tensor | None = None
        for tiles in _batched(tile_grid(grid, returned, self.overlap, self.blend), self.batch_size):
            crops = torch.cat([region(padded, tile.start, self.window) for tile in tiles])
            maps = self._maps(predict(crops), returned)
            if len(tiles) == 1 and grid == returned:
                total = self._stored(maps) if self.storage != "device" else maps
                break
            if total is None:
                total = self._zeros((1, maps.shape[1], *grid), maps.device)
            for tile, part in zip(tiles, maps, strict=True):
                _add(region(total[0], tile.start, returned), part, tile.weights)
        assert total is not None  # there is at least one tile
        if self.average == "logits":
            for slab in total.split(1, dim=2):  # in place: no second copy of a large result is made
                slab.copy_(self.activation.normalised(slab))
        return region(total, low, size).clamp_(0, 1)  # the weighted sum may round to a hair above 1

    def _maps(self, logits: Tensor, expected: tuple[int, ...]) -> Tensor:
        """What is to be averaged, float32 with at least two classes."""
        size = tuple(logits.shape[2:])
        if size != expected:
            if any(n > w or (w - n) % 2 for n, w in zip(size, self.window, strict=True)):
                raise ValueError(f"the network returned {size} for a window of {self.window}: not its centre")
            raise _Returned(size)
        return self.activation(logits) if self.average == "probabilities" else self.activation.complete(logits.float())

    def _zeros(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """The place where the result is summed."""
        if self.storage == "disk":
            # numpy unlinks nothing itself: an unnamed temporary file is freed with the array
            with tempfile.TemporaryFile() as file:
                return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))
        return torch.zeros(shape, device=device if self.storage == "device" else "cpu")

    def _stored(self, maps: Tensor) -> Tensor:
        """The only tile's maps, brought to the storage asked for."""
        return self._zeros(tuple(maps.shape), maps.device).copy_(maps) if self.storage == "disk" else maps.cpu()


class Tile(NamedTuple):
    """Where a tile begins, and its weight along each axis."""

    start: tuple[int, ...]
    weights: tuple[Tensor, ...]


class _Returned(Exception):
    """Tells that a network returned less than the window."""

    def __init__(self, size: tuple[int, ...]) -> None:
        super().__init__(size)
        self.size = size


def tile_weights(starts: Sequence[int], tile: int, size: int, blend: str) -> Tensor:
    """Weights ``(tiles, tile)`` of tiles along one axis, that sum to one over the tiles at every voxel."""
    place = torch.arange(tile, dtype=torch.float64) - (tile - 1) / 2
    shape = torch.exp(-0.5 * (place / (tile / 8)) ** 2) if blend == "gaussian" else torch.ones_like(place)
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + tile] += shape
    return torch.stack([shape / total[start : start + tile] for start in starts]).float()


def tile_grid(size: Sequence[int], tile: Sequence[int], overlap: float, blend: str) -> Iterator[Tile]:
    """All tiles that cover ``size``; the product of a tile's weights sums to one over the tiles."""
    starts = [tile_starts(s, t, overlap) for s, t in zip(size, tile, strict=True)]
    weights = [tile_weights(a, t, s, blend) for a, t, s in zip(starts, tile, size, strict=True)]
    for index in product(*(range(len(axis)) for axis in starts)):
        place = tuple(axis[i] for axis, i in zip(starts, index, strict=True))
        yield Tile(place, tuple(axis[i] for axis, i in zip(weights, index, strict=True)))


def _batched(tiles: Iterator[Tile], size: int) -> Iterator[list[Tile]]:
    batch: list[Tile] = []
    for tile in tiles:
        batch.append(tile)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def pad_to(image: Tensor, low: Sequence[int], extent: Sequence[int], padding: str) -> Tensor:
    """Pad ``image`` to ``extent``, ``low`` voxels of it before each axis.

    Args:
        image: ``(B, C, *S)``.
        low: voxels added before each axis.
        extent: sizes after padding.
        padding: zeros (also for ``data``), the image's ``minimum``, or its ``nearest`` voxels.
    """
    pads: list[int] = []
    for before, whole, size in zip(reversed(low), reversed(extent), reversed(image.shape[2:]), strict=True):
        pads += [before, whole - size - before]
    if not any(pads):
        return image
    if padding == "nearest":
        return F.pad(image, pads, mode="replicate")
    return F.pad(image, pads, value=float(image.min()) if padding == "minimum" else 0.0)


def _add(total: Tensor, part: Tensor, weights: Sequence[Tensor]) -> None:
    """Add the weighted maps of a tile ``(K, *w)`` to its place in the sum."""
    weight = weights[0].to(part.device)
    for axis in weights[1:]:
        weight = weight.unsqueeze(-1) * axis.to(part.device)
    total += (part * weight).to(total.device)
