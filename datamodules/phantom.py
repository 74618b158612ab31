"""Images whose true class probabilities are known, made on the fly."""

from collections.abc import Sequence

import numpy as np
import torch

from .base import SegmentationData
from .case import Case, DataInfo
from .errors import DataError
from .geometry import Geometry
from .items import MemoryCache, Pipeline, Sample, TrainingPatches
from .patches import PatchSampling, Target, Uniform
from .sampling import Draw
from .splits import SUBSETS, Split


def smooth_field(shape: Sequence[int], length: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian random field with standard normal marginals at every voxel.

    White noise is convolved, on a torus, with a Gaussian whose weights have unit L2 norm, so that the variance is one
    exactly, in theory and not only on average over the sample.

    Args:
        shape: Shape of the field.
        length: Standard deviation of the Gaussian in voxels; 0 gives white noise.
        rng: Random generator.

    Returns:
        float64 array of that shape.
    """
    noise = rng.standard_normal(shape)
    if length <= 0:
        return noise
    axes = range(len(shape))
    power = sum((np.fft.fftfreq(shape[a]) ** 2).reshape([-1 if b == a else 1 for b in axes]) for a in axes)
    kernel = np.exp(-2 * (np.pi * length) ** 2 * power)
    kernel *= np.sqrt(kernel.size / np.square(kernel).sum())
    return np.fft.ifftn(np.fft.fftn(noise) * kernel).real


def draw_labels(probs: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Labels with exactly the marginals `probs`, correlated in space through a Gaussian copula.

    A smooth field with standard normal marginals becomes uniform by its distribution function, and the class is where
    it falls among the cumulated probabilities. The correlation length changes how labels go together, never how often
    each occurs.

    Args:
        probs: `(K, *S)`.
        length: Correlation length in voxels; 0 draws each voxel alone.
        rng: Random generator.

    Returns:
        uint8 labels `(*S)`.
    """
    field = torch.from_numpy(smooth_field(probs.shape[1:], length, rng))
    uniform = torch.special.ndtr(field).numpy()
    return (uniform[None] >= np.cumsum(probs, axis=0)[:-1]).sum(0).astype(np.uint8)


class PhantomPipeline(Pipeline):
    """Makes phantom cases from their number and the seed.

    Args:
        shape: Spatial shape.
        num_classes: Number of classes.
        smoothness: Correlation length of the probability maps in voxels.
        sharpness: Spread of the logits; large values give probabilities near 0 and 1.
        correlation: Correlation length of the labels given the probabilities, in voxels.
        noise: Standard deviation of the image's noise, where the signal has about 1.
        threshold: Level of the fields above which a class is likelier than the background.
        patches: What is cut from a case for training.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_classes: int,
        smoothness: float,
        sharpness: float,
        correlation: float,
        noise: float,
        threshold: float,
        patches: TrainingPatches,
    ) -> None:
        self.shape, self.num_classes, self.patches, self.threshold = tuple(shape), num_classes, patches, threshold
        self.smoothness, self.sharpness, self.correlation, self.noise = smoothness, sharpness, correlation, noise
        self.memory = MemoryCache()

    def _make(self, number: int) -> Sample:
        rng = np.random.default_rng([self.patches.seed, number])
        fields = np.stack([smooth_field(self.shape, self.smoothness, rng) for _ in range(self.num_classes - 1)])
        logits = np.concatenate([np.zeros((1, *self.shape)), self.sharpness * (fields - self.threshold)])
        odds = np.exp(logits - logits.max(0))
        probs = odds / odds.sum(0)
        labels = draw_labels(probs, self.correlation, rng)
        image = fields + self.noise * rng.standard_normal(fields.shape)
        return {
            "image": torch.from_numpy(image.astype(np.float32)),
            "mask": torch.from_numpy(labels),
            "true_probs": torch.from_numpy(probs.astype(np.float32)),
        }

    def _whole(self, case: Case) -> Sample:
        sample = self.memory.get(case.name)
        if sample is None:
            sample = self._make(case.extra)
            self.memory.put(case.name, sample, sum(tensor.nbytes for tensor in sample.values()))
        sample = {**sample, "case": case.name}
        if len(self.shape) == 3:
            sample |= {"affine": torch.eye(4, dtype=torch.float64), "spacing": torch.ones(3, dtype=torch.float64)}
        return sample

    def train_item(self, case: Case, draw: Draw) -> Sample:
        """Image, mask and true probabilities, of the whole case or of a patch."""
        sample = self._whole(case)
        patches = self.patches
        if patches.size is None:
            return sample
        target = Target(case.name, sample["mask"].numpy())
        start = patches.sampling.start(target, patches.size, draw.rng(patches.seed))
        inside = (..., *(slice(first, first + side) for first, side in zip(start, patches.size, strict=True)))
        return {**sample, **{name: sample[name][inside].clone() for name in ("image", "mask", "true_probs")}}

    def whole_item(self, case: Case) -> Sample:
        """The whole case with its geometry."""
        sample = self._whole(case)
        volume = len(self.shape) == 3
        geometry = Geometry("volume" if volume else "image", self.shape, affine=np.eye(4) if volume else None)
        return {**sample, "original_mask": sample["mask"], "geometry": geometry}


class Phantom(SegmentationData):
    """Synthetic images whose true probability of each class is known at every voxel.

    K - 1 smooth Gaussian fields g give the logits a (g - t) beside the background's 0; their softmax is the true
    probability map `true_probs`. Labels are drawn from it with a chosen correlation in space, the image is g with white
    noise. What a network estimates can so be held against the truth, not only against one drawn label.

    Args:
        spatial_dims: 2 or 3.
        num_classes: Number of classes, background included; the image has one channel less.
        size: Side of the images.
        num_cases: Numbers of training, validation and test cases.
        smoothness: Correlation length of the probability maps in voxels.
        sharpness: Spread of the logits; large values give probabilities near 0 and 1.
        correlation: Correlation length of the labels given the probabilities, in voxels; 0 draws each voxel alone.
        noise: Standard deviation of the image's noise; the signal has 1.
        threshold: Level t above which a class is likelier than the background, in standard deviations; higher makes it
            rarer.
        patch_size: Shape of training patches; whole images if left out.
        patches_per_case: Patches drawn from each training image in an epoch.
        sampling: Where training patches lie.
        batch_size: Images or patches in a training batch.
        num_workers: Loader processes.
        seed: Seed of everything that is drawn.
        regions: Regions that may overlap in place of classes, as in `SegmentationData`; their probabilities are known.
        regions_class_order: As in `SegmentationData`.

    Raises:
        DataError: If an argument is out of range.

    Example:
        >>> from datamodules import Phantom
        >>> data = Phantom(num_classes=3, size=32, num_cases=(8, 2, 2), batch_size=4)
        >>> batch = next(iter(data.train_dataloader()))
        >>> {name: tuple(batch[name].shape) for name in ("image", "mask", "true_probs")}
        {'image': (4, 2, 32, 32), 'mask': (4, 32, 32), 'true_probs': (4, 3, 32, 32)}
    """

    info = DataInfo(
        title="Phantom",
        task="smooth random regions with known class probabilities",
        cases="any (made on the fly)",
        size="64 x 64 by default, or 3D",
        spacing="1",
        licence="none needed",
        citation="this project",
        source="this project",
        layout="nothing: no file is read",
        classes="background and any number of regions",
        dimensions="2D, 3D",
    )
    has_true_probs = True

    def __init__(
        self,
        spatial_dims: int = 2,
        num_classes: int = 2,
        size: int | None = None,
        num_cases: tuple[int, int, int] = (96, 16, 24),
        smoothness: float | None = None,
        sharpness: float = 6.0,
        correlation: float = 1.0,
        noise: float = 0.5,
        threshold: float = 0.8,
        patch_size: list[int] | None = None,
        patches_per_case: int = 1,
        sampling: PatchSampling | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        regions: dict[str, list[int]] | None = None,
        regions_class_order: list[int] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, seed=seed, patches_per_case=patches_per_case,
            regions=regions, regions_class_order=regions_class_order,
        )  # fmt: skip
        if spatial_dims not in (2, 3):
            raise DataError(f"spatial_dims={spatial_dims}: must be 2 or 3.")
        if num_classes < 2 or num_classes > 255:
            raise DataError(f"num_classes={num_classes}: must be 2..255.")
        if min(num_cases) < 1:
            raise DataError(f"num_cases={list(num_cases)}: each subset needs a case.")
        self.spatial_dims, self.in_channels = spatial_dims, num_classes - 1
        self.class_names = (
            "background",
            *(f"class {k}" if num_classes > 2 else "region" for k in range(1, num_classes)),
        )
        self.size = size or (64 if spatial_dims == 2 else 32)
        self.num_cases, self.smoothness = tuple(num_cases), smoothness or self.size / 10
        self.sharpness, self.correlation, self.noise, self.threshold = sharpness, correlation, noise, threshold
        if patch_size is not None and (
            len(patch_size) != spatial_dims or min(patch_size) < 1 or max(patch_size) > self.size
        ):
            raise DataError(
                f"patch_size={patch_size}: give {spatial_dims} sizes of 1 to {self.size}, the image's side."
            )
        self.patch_size, self.sampling = patch_size, sampling

    def find_cases(self) -> list[Case]:
        """Names of the cases; nothing is read."""
        return [case for cases in self._cases().values() for case in cases]

    def _cases(self) -> Split:
        subsets = zip(SUBSETS, self.num_cases, strict=True)
        start = {"train": 0, "val": 1 << 20, "test": 1 << 21}
        return {
            subset: [Case(f"{subset}_{i:04d}", (), extra=start[subset] + i) for i in range(count)]
            for subset, count in subsets
        }

    def checked_cases(self) -> list[Case]:
        """Same as `find_cases`."""
        return self.find_cases()

    def make_split(self, cases: list[Case]) -> Split:
        """The three sets that `num_cases` asks for."""
        return self._cases()

    def make_pipeline(self) -> PhantomPipeline:
        """The generator of cases."""
        shape = (self.size,) * self.spatial_dims
        return PhantomPipeline(
            shape,
            self.num_classes,
            self.smoothness,
            self.sharpness,
            self.correlation,
            self.noise,
            self.threshold,
            TrainingPatches(self.patch_size, 1, self.sampling or Uniform(), None, self.seed),
        )
