"""What all data sets share: finding the folder, splitting, loaders, the batch.

A data set is a subclass of `ImageData` or `VolumeData` (themselves of `SegmentationData`) that says where its files lie
(`find_cases`) and how its masks are coded (`coding`).
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from . import splits
from .case import Case
from .checks import LabelCheck, LabelReader, Labels, check_names, class_problem, refuse_links, untaught
from .corruption import Corruption
from .download import Archive, fetch
from .errors import DataError
from .folder import DataFolder
from .items import CaseDataset, Pipeline, Sample, collate, single_thread
from .readers import natural
from .regions import Regions, find_regions
from .sampling import EpochSampler, ShardSampler, rank_and_world
from .transforms import mirrored_sides


class SegmentationData(DataFolder, LightningDataModule, ABC):
    """Base of all data sets: folder, split, loaders.

    Args:
        root: Folder of the data set; by default `$SEGMENTATION_DATA/<name>`.
        batch_size: Images or patches in a training batch; whole cases come one at a time.
        num_workers: Loader processes.
        split: "grouped" (what belongs together stays together), "random", "paper" (the published split, or its sizes),
            "official" (the owner's test set), "own" (folders as train, Test_Set or imagesTs where there are, else
            grouped), or the path of a file of names (.csv with columns case,subset, .json as nnU-Net's splits_final).
        split_sizes: Shares or counts of training, validation and test cases, as [0.64,0.16,0.2] or [80,20,30].
        fold: Number of the test part for k-fold cross-validation, from 0; refused where the split has one of its own.
        num_folds: Number of parts for cross-validation.
        seed: Seed of split, sampling and augmentation.
        patches_per_case: Training patches drawn from each case in an epoch.
        augment: Augment the training images.
        predict_root: Folder of new images without masks, for `predict`.
        download: Fetch the data set where its owner serves it openly.
        follow_links: Allow links that lead out of the root folder.
        absent_classes: Names of classes that no mask need hold; any other such class is an error before training.
        regions: Regions that may overlap in place of classes, each a name and the class numbers that it unites, as
            {whole: [1, 2, 3], core: [1, 3]}; the network gets a sigmoid for each.
        regions_class_order: The class that each region writes into a label map, later ones over earlier ones; by
            default the one that no later region has.

    Example:
        >>> from datamodules import Phantom, SegmentationData
        >>> data = Phantom(size=32, num_cases=(8, 2, 2), batch_size=4, seed=1)
        >>> data.setup()
        >>> isinstance(data, SegmentationData), data.split_table()[-1]
        (True, {'case': 'test_0001', 'subset': 'test'})
        >>> {subset: len(data.dataset(subset)) for subset in ("train", "val", "test")}
        {'train': 8, 'val': 2, 'test': 2}
    """

    default_split: ClassVar[str] = "grouped"
    archives: Sequence[Archive] = ()
    paper_sizes: Sequence[int] | None = None
    spatial_dims: int = 2
    in_channels: int = 3
    class_names: Sequence[str] = ("background", "foreground")
    has_true_probs: bool = False
    padding: Literal["zero", "minimum"] = "zero"  # what fills beyond an image, in training and in evaluation
    label_values: Sequence[int] | None = None  # stored value of each class, where it is not the class number

    def __init__(
        self,
        root: str | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        split: str | None = None,
        split_sizes: list[float] | None = None,
        fold: int | None = None,
        num_folds: int = 5,
        seed: int = 0,
        patches_per_case: int = 1,
        augment: bool = True,
        predict_root: str | None = None,
        download: bool = False,
        follow_links: bool = False,
        absent_classes: list[str] | None = None,
        regions: dict[str, list[int]] | None = None,
        regions_class_order: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer cases than processes
        if batch_size < 1 or num_workers < 0:
            raise DataError(f"batch_size={batch_size}, num_workers={num_workers}: need at least 1 and 0.")
        if patches_per_case < 1:
            raise DataError(f"patches_per_case={patches_per_case}: draw at least one patch from each training case.")
        self.root, self.batch_size, self.num_workers = root, batch_size, num_workers
        self.split, self.split_sizes = split or self.default_split, split_sizes
        self.fold, self.num_folds, self.seed = fold, num_folds, seed
        self.patches_per_case = patches_per_case
        self.augment, self.predict_root = augment, predict_root
        self.download, self.follow_links = download, follow_links
        self.absent_classes = absent_classes or []
        self.wanted_regions, self.wanted_order = regions, regions_class_order
        self.unlabelled: list[Path] = []
        self.orphans: list[Path] = []
        self.subsets: splits.Split | None = None
        self._found = 0  # cases that the split was made of
        self._untaught = ""
        self.corruption: Corruption | None = None  # of the test images
        self.new_cases: list[Case] = []
        self._pipeline: Pipeline | None = None

    # What a data set says of itself

    @abstractmethod
    def find_cases(self) -> list[Case]:
        """All labelled cases under the root folder."""

    @abstractmethod
    def make_pipeline(self) -> Pipeline:
        """The object that turns cases into tensors."""

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """Case names of the published split."""
        raise DataError(f'{type(self).__name__}: no split was published. Use split="{self.default_split}".')

    def find_new_cases(self, folder: Path) -> list[Case]:
        """Cases without masks in a folder of the user's."""
        raise DataError(f"{type(self).__name__}: predict_root={folder} is not supported. Leave it out.")

    def fetch(self, root: Path) -> None:
        """Download the data set into the root folder.

        Raises:
            DataError: If its owner does not serve it openly, or the download fails.
        """
        if not self.archives:
            raise DataError(f"{type(self).__name__}: its owner does not serve it openly. {self.advice(root)}")
        fetch(self.archives, root)

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    @property
    def regions(self) -> Regions | None:
        """Regions that are learned in place of the classes, or None.

        Raises:
            DataError: If those asked for are not of these classes.
        """
        if self.wanted_regions is None:
            return None
        return find_regions(self.wanted_regions, self.num_classes, self.wanted_order)

    def propose_regions(self, regions: dict[str, list[int]], order: list[int]) -> None:
        """Take the regions of the owner's files, unless there are none or others were asked for."""
        if regions and self.wanted_regions is None:
            self.wanted_regions, self.wanted_order = regions, order

    # Split

    def prepare_data(self) -> None:
        """Download, in one process, where it was asked for and the folder is not there."""
        if self.download and not self.root_path().is_dir():
            self.fetch(self.root_path())

    def setup(self, stage: str | None = None) -> None:
        """Find the cases, split them, and look at every mask once.

        Raises:
            DataError: If images have no mask, a mask holds what is not declared or lies elsewhere than its image, or,
                before training, no mask holds a class.
        """
        if stage == "predict" and self.predict_root:
            self._find_new()
        elif self.subsets is None:
            cases = self.checked_cases()
            self._refuse_unlabelled(len(cases))
            self.subsets, self._found = self.make_split(cases), len(cases)
            self.check_labels(training=stage in (None, "fit"))

    def _refuse_unlabelled(self, labelled: int) -> None:
        if self.unlabelled:
            raise DataError(
                f"{self.unlabelled[0]}: has no mask{self.mask_pattern()}; {len(self.unlabelled)} of "
                f"{labelled + len(self.unlabelled)} images have none. "
                "Add the masks, remove or exclude the images, or correct the pattern."
            )

    def mask_pattern(self) -> str:
        """How masks are looked for, for the error where there is none."""
        return ""

    def label_reader(self) -> LabelReader | None:
        """Reads label maps alone, for the check before training; None where there is nothing to check."""
        return None

    def check_labels(self, training: bool) -> None:
        """Look at the masks of the split, those that were not looked at before.

        Args:
            training: Also refuse a class that no mask holds.
        """
        reader = self.label_reader()
        cases = [case for members in (self.subsets or {}).values() for case in members]
        cases.sort(key=lambda case: natural(case.name))  # the first fault by name, whatever the split
        if reader is None or not cases:
            return
        name = f"{type(self).__name__} {self.root_path().resolve()}"
        found = LabelCheck(reader, self.num_classes, name, 2 if self.spatial_dims == 3 else 4).run(cases)
        for told in self.mask_remarks(found):
            warnings.warn(f"{type(self).__name__}: {told}", stacklevel=2)
        if training and found:
            problem = self.class_problem(found, cases)
            if problem:
                raise DataError(f"{type(self).__name__}: {problem}")
            masked = [case for case in cases if case.masks]
            self._untaught = untaught(*self._taught(found), masked, (self.subsets or {}).get("train", ()))
            if self._untaught and self.num_classes == 2:
                raise DataError(f"{type(self).__name__}: {self._untaught}")

    def mask_remarks(self, found: Sequence[Labels]) -> list[str]:
        """What is odd about the masks though they can be used, given what each case's hold."""
        return []

    def class_problem(self, found: Sequence[Labels], cases: Sequence[Case]) -> str:
        """Why the masks do not teach the classes; empty where they do."""
        return class_problem(*self._taught(found), cases, self.absent_classes)

    def _taught(self, found: Sequence[Labels]) -> tuple[Sequence[Labels], Sequence[str]]:
        """What masks hold of the classes, or of the regions in their place, and the names of these."""
        regions = self.regions
        if regions is None:
            return found, self.class_names
        return [regions.counts(labels) for labels in found], ("background", *regions.united)

    def _find_new(self) -> None:
        folder = Path(self.predict_root or "").expanduser()
        if not folder.is_dir():
            raise DataError(f"predict_root {folder} does not exist. Give a folder of images.")
        self.new_cases = self.find_new_cases(folder)
        if not self.new_cases:
            raise DataError(f"predict_root {folder} holds no image that can be read. Give a folder of images.")

    def checked_cases(self) -> list[Case]:
        """The cases, after checks that cost no reading.

        Raises:
            DataError: If there is none, a name is there twice, or a link leads out of the root folder.
        """
        cases = self.find_cases()
        name = type(self).__name__
        if not cases:
            self._refuse_unlabelled(0)
            raise DataError(f"{name}: {self.root_path()} holds no case. {self.advice(self.root_path())}")
        check_names(cases, name)
        if not self.follow_links:
            refuse_links(cases, self.root_path())
        return cases

    def make_split(self, cases: list[Case]) -> splits.Split:
        """Divide the cases as `split`, `split_sizes`, `fold` and `seed` say.

        Raises:
            DataError: If the split is unknown or cannot be made of these cases.
        """
        if self.split == "own":
            own = any(case.subset in ("val", "test") for case in cases)
            self.split = "official" if own else "grouped"
        split = self._divide(cases)
        splits.check_split(split)
        splits.warn_of_leaks(split, f"{type(self).__name__}: split={self.split!r}")
        return split

    def _divide(self, cases: list[Case]) -> splits.Split:
        sizes = self.split_sizes or splits.DEFAULT_SIZES
        if self.split.endswith((".csv", ".json")):
            return splits.file_split(cases, Path(self.split).expanduser(), self.fold)
        if self.split in ("paper", "official"):
            splits.refuse_fold(self.fold, f"split={self.split!r}")
        if self.split == "paper" and self.paper_sizes is not None:
            shares = [size / sum(self.paper_sizes) for size in self.paper_sizes]
            return splits.random_split(cases, shares, self.seed, True)
        if self.split == "paper":
            return splits.named_split(cases, self.paper_names(cases), f"{type(self).__name__} paper split")
        if self.split == "official":
            return splits.official_split(cases, sizes, self.seed, type(self).__name__)
        if self.split not in ("grouped", "random"):
            raise DataError(f"split={self.split!r}: use own, grouped, random, paper, official or a .csv or .json file.")
        if self.fold is not None:
            return splits.fold_split(cases, self.fold, self.num_folds, sizes, self.seed, self.split == "grouped")
        return splits.sized_split(cases, sizes, self.seed, self.split == "grouped")

    def notes(self) -> list[str]:
        """What is worth knowing of how files make cases, and how these are divided."""
        left = self._found - sum(map(len, (self.subsets or {}).values()))
        out = f"split={self.split!r} leaves {left} of {self._found} cases out of all parts" if left > 0 else ""
        return [note for note in (self._untaught, out, self._mirrored()) if note]

    def _mirrored(self) -> str:
        if self.default_split != "own":  # of published sets it is known: ACDC's ventricles differ in more
            return ""
        names = [*self.class_names, *(self.regions.united if self.regions else ())]
        return mirrored_sides(names, getattr(self, "augmentation", None)) if self.augment else ""

    def use_split(self, split: splits.Split) -> None:
        """Use this division of the cases instead of the one that the arguments ask for."""
        self.subsets = split

    def split_table(self) -> list[dict[str, str]]:
        """Rows `case, subset` of the split in use (after `setup`)."""
        return [{"case": c.name, "subset": subset} for subset, cases in (self.subsets or {}).items() for c in cases]

    # Loaders

    def dataset(self, subset: str) -> CaseDataset:
        """Data set of "train", "val", "test" or "predict".

        Raises:
            DataError: If the subset is empty.
        """
        if self._pipeline is None:
            self._pipeline = self.make_pipeline()
        if subset == "predict" and self.predict_root:
            cases = self.new_cases
        else:
            if self.subsets is None:
                self.setup()
            cases = (self.subsets or {})["test" if subset == "predict" else subset]
        if not cases:
            total = sum(len(c) for c in (self.subsets or {}).values())
            raise DataError(
                f"{type(self).__name__}: the {subset} set is empty (split={self.split!r}, {total} cases in all). "
                "Change split or split_sizes, or complete the data set."
            )
        corruption = self.corruption if subset == "test" else None
        return CaseDataset(cases, self._pipeline, subset == "train", corruption)

    def draws_per_epoch(self, num_cases: int) -> int:
        """Training draws an epoch, over all processes."""
        return num_cases * self.patches_per_case

    def _loader(self, dataset: CaseDataset, sampler: Sampler, batch_size: int, drop_last: bool) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=single_thread,
            drop_last=drop_last,
        )

    def train_dataloader(self) -> DataLoader:
        """Shuffled, augmented batches, seeded by (seed, epoch, position)."""
        dataset = self.dataset("train")
        rank, world = rank_and_world()
        sampler = EpochSampler(len(dataset), self.seed, self.draws_per_epoch(len(dataset)), rank, world)
        return self._loader(dataset, sampler, self.batch_size, drop_last=len(sampler) >= self.batch_size)

    def _whole_loader(self, subset: str) -> DataLoader:
        dataset = self.dataset(subset)
        return self._loader(dataset, ShardSampler(len(dataset), *rank_and_world()), 1, drop_last=False)

    def val_dataloader(self) -> DataLoader:
        """Whole validation cases, one at a time, none twice over all processes."""
        return self._whole_loader("val")

    def test_dataloader(self) -> DataLoader:
        """Whole test cases, one at a time, none twice over all processes."""
        return self._whole_loader("test")

    def predict_dataloader(self) -> DataLoader:
        """Whole new images of `predict_root`, or the test cases."""
        return self._whole_loader("predict")

    def plot(self, sample: Sample) -> tuple[Any, Any]:
        """Draw a sample: image beside mask, the middle slice of a volume.

        Args:
            sample: An item of a data set, or a batch (its first item is drawn).

        Returns:
            matplotlib's figure and axes.
        """
        from .plotting import plot_sample

        return plot_sample(sample, self.spatial_dims, self.num_classes)
