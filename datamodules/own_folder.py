"""What `ImageFolder` and `VolumeFolder` share: files that go together by patterns, and several raters of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .base import SegmentationData
from .case import Case, DataInfo
from .checks import Labels, twin_raters
from .class_files import ClassFiles
from .errors import DataError
from .masks import Binary, PerClass
from .pairs import Pairing, check_masks, united
from .patterns import Listing
from .raters import Raters, check_raters
from .splits import DEFAULT_SIZES, SUBSETS, Split

_NO_GROUPS = (
    "Where folders are no patients, set --data.group '(.+)'; where a part of the path is, an expression for it."
)


def own_info(title: str, what: str, spacing: str) -> DataInfo:
    """The facts of a folder of the user's own."""
    return DataInfo(
        title=title,
        task=f"the user's own {what}",
        cases="any",
        size="any",
        spacing=spacing,
        licence="the user's",
        citation="-",
        source="your own disk",
        layout=f"the {what} and masks that the patterns name",
        classes="by argument",
    )


class OwnFolder(SegmentationData):
    """Finds images and the masks of each of their raters by patterns."""

    default_split = "own"
    endings: ClassVar[tuple[str, ...]]
    coding: Any  # the rule for the masks, of which those of images are more
    pairing: Pairing
    raters: Raters

    def pair(self, pairing: Pairing, raters: Raters) -> None:
        """Take the patterns, and what training takes of several raters.

        Raises:
            DataError: If the choice does not go with the number of patterns of masks, or several go with regions.
        """
        self.pairing, self.raters = pairing, check_raters(raters, pairing.masks)
        self._lacking: dict[Path, list[str]] = {}
        self._folders: list[str] = []  # that are groups
        self._validates = False  # the owner divides all cases
        self._united = ""
        if self.wanted_regions is not None and len(pairing.masks) > 1:
            raise DataError(
                f"regions of {len(pairing.masks)} raters: they need one label map a case. Give masks as one pattern, "
                "or leave regions out."
            )

    def find_cases(self) -> list[Case]:
        """Images that match the pattern, each with its masks; images without go to `unlabelled`, masks to `orphans`."""
        found = self.pairing.find(Listing(self.existing_root(), self.endings))
        self.unlabelled, self.orphans = found.unlabelled, found.orphans
        self._lacking = found.lacking
        self._validates = any(case.subset == "val" for case in found.cases)
        if self.pairing.groups_folders:
            self._folders = list(dict.fromkeys(case.group for case in found.cases if case.group))
        files = ClassFiles(self.existing_root(), self.pairing.masks, self.class_names)
        for case in found.cases:
            check_masks(case, self.coding, self.num_classes)
        self._united = united(found.cases) if isinstance(self.coding, Binary) else ""
        if not isinstance(self.coding, PerClass):
            return found.cases
        return [files.ordered(case, words) for case, words in zip(found.cases, found.words, strict=True)]

    def make_split(self, cases: list[Case]) -> Split:
        """Divide the cases as asked for, the images of a folder together.

        Raises:
            DataError: If there are too few folders for that, or the split cannot be made for another reason.
        """
        split = super().make_split(cases)
        sizes = self.split_sizes or DEFAULT_SIZES
        drawn = SUBSETS[:2] if self.split == "official" else SUBSETS
        empty = [part for part, size in zip(drawn, sizes, strict=False) if size > 0 and not split[part]]
        if empty and self._whole_folders():
            raise DataError(
                f"images={self.pairing.images!r}: folders stay whole, as {self._folders[0]!r}, and are too few to give "
                f"{' and '.join(empty)} a case. {_NO_GROUPS}"
            )
        return split

    def notes(self) -> list[str]:
        """That folders stay whole, that more masks are united in some cases than in others, and what all data note."""
        return [note for note in (self._whole_folders(), self._united, *super().notes()) if note]

    def _whole_folders(self) -> str:
        drawn = self.split == "grouped" or (self.split in ("own", "official") and not self._validates)
        if not self._folders or not drawn:
            return ""
        return (
            f"the images of each of {len(self._folders)} folders stay in one part of the split, as those of "
            f"{self._folders[0]!r}. {_NO_GROUPS}"
        )

    def mask_pattern(self) -> str:
        """The patterns; of several raters those by which the first image has no mask."""
        lacking = self._lacking.get(self.unlabelled[0], ()) if self.unlabelled else ()
        return f" by masks={', '.join(lacking or self.pairing.masks)}"

    def mask_remarks(self, found: Sequence[Labels]) -> list[str]:
        """Raters who are one."""
        told = twin_raters(found, self.pairing.masks)
        return [told] if told else []
