"""ISIC 2016 part 1: skin lesions."""

from . import readers
from .case import Case, DataInfo
from .download import Archive
from .errors import DataError
from .images import ImageData, pair_by_stem

_FOLDERS = {
    "train": (("ISBI2016_ISIC_Part1_Training_Data", "ISBI2016_ISIC_Part1_Training_GroundTruth"),),
    "test": (("ISBI2016_ISIC_Part1_Test_Data", "ISBI2016_ISIC_Part1_Test_GroundTruth"), ("test_data", "test_masks")),
}
_SERVER = "https://isic-challenge-data.s3.amazonaws.com/2016/"


class ISIC2016(ImageData):
    """ISIC 2016 part 1: lesions in 900 training and 379 test images (dermoscopy).

    Classes: 0 background, 1 lesion. Licence: terms of the ISIC Archive, to be treated as non-commercial.
    Layout: `ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg`,
    `ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png`, the same with `Test`; a resized copy of
    the test set in `test_data`, `test_masks` is read too. Citation: Gutman et al., arXiv 1605.01397.

    Example:
        >>> from datamodules import ISIC2016
        >>> data = ISIC2016(root="isic2016", split="official")
        >>> data.class_names
        ('background', 'lesion')
    """

    info = DataInfo(
        title="ISIC 2016 part 1",
        task="skin lesions, dermoscopy",
        cases="900 + 379",
        size="about 720 x 540 to 4300 x 2800",
        spacing="-",
        licence="ISIC Archive terms, non-commercial",
        citation="Gutman et al., arXiv 1605.01397",
        source="https://challenge.isic-archive.com/data/#2016",
        layout="ISBI2016_ISIC_Part1_{Training,Test}_Data/*.jpg and ..._GroundTruth/*_Segmentation.png",
        paper="stand-in",
    )
    folder = "isic2016"
    class_names = ("background", "lesion")
    default_size = (224, 224)
    # The owner publishes no checksum of these; a part's images and masks are counted instead.
    archives = tuple(
        Archive(f"{_SERVER}{name}.zip", None, name, entries=count)
        for part, count in (("Training", 900), ("Test", 379))
        for name in (f"ISBI2016_ISIC_Part1_{part}_Data", f"ISBI2016_ISIC_Part1_{part}_GroundTruth")
    )

    def find_cases(self) -> list[Case]:
        """Pairs of the same number in whichever of the parts are there."""
        root = self.existing_root()
        cases: list[Case] = []
        for subset, choices in _FOLDERS.items():
            for images, masks in choices:
                if not (root / images).is_dir():
                    continue
                if not (root / masks).is_dir():
                    raise DataError(f"ISIC2016: {root} holds {images} without {masks}. {self.advice(root)}")
                pairs = pair_by_stem(
                    readers.files(root / images, (".jpg",)), readers.files(root / masks, (".png",)), "_Segmentation"
                )
                cases.extend(Case(image.stem, (image,), (mask,), subset=subset) for image, mask in pairs)
        return cases
