"""What `ImageFolder` and `VolumeFolder` share: files that go together by patterns, and several raters of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .base import SegmentationData
from .case import Case, DataInfo
from .checks import Labels, twin_raters
from .errors import DataError
from .pairs import Pairing, check_masks
from .patterns import Listing
from .raters import Raters, check_raters


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
        for case in found.cases:
            check_masks(case, self.coding, self.num_classes)
        return found.cases

    def mask_pattern(self) -> str:
        """The patterns; of several raters those by which the first image has no mask."""
        lacking = self._lacking.get(self.unlabelled[0], ()) if self.unlabelled else ()
        return f" by masks={', '.join(lacking or self.pairing.masks)}"

    def mask_remarks(self, found: Sequence[Labels]) -> list[str]:
        """Raters who are one."""
        told = twin_raters(found, self.pairing.masks)
        return [told] if told else []
