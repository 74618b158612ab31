"""ISIC 2018 task 1: skin lesions."""

from collections.abc import Sequence

from . import readers
from .case import Case, DataInfo
from .download import Archive
from .images import ImageData, pair_by_stem
from .published import ISIC_TEST, ISIC_VAL, by_position

_SERVER = "https://isic-challenge-data.s3.amazonaws.com/2018/"


class ISIC2018(ImageData):
    """ISIC 2018 task 1, training set: lesions in 2,594 dermoscopic images.

    Classes: 0 background, 1 lesion. Licence: terms of the ISIC Archive, to be treated as non-commercial.
    Layout: `ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg`,
    `ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png`. Citation: Codella et al., arXiv 1902.03368;
    Tschandl et al., Scientific Data 2018.

    Example:
        >>> from datamodules import ISIC2018
        >>> data = ISIC2018(root="isic2018", split="paper")
        >>> data.class_names
        ('background', 'lesion')
    """

    info = DataInfo(
        title="ISIC 2018 task 1",
        task="skin lesions, dermoscopy",
        cases="2,594",
        size="about 600 x 450 to 6700 x 4500",
        spacing="-",
        licence="ISIC Archive terms, non-commercial",
        citation="Codella et al., arXiv 1902.03368",
        source="https://challenge.isic-archive.com/data/#2018",
        layout="ISIC2018_Task1-2_Training_Input/*.jpg and ISIC2018_Task1_Training_GroundTruth/*_segmentation.png",
        paper="DSC++",
    )
    folder = "isic2018"
    class_names = ("background", "lesion")
    default_size = (512, 512)
    archives = (
        Archive(
            f"{_SERVER}ISIC2018_Task1-2_Training_Input.zip",
            "sha256:80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
        ),
        Archive(
            f"{_SERVER}ISIC2018_Task1_Training_GroundTruth.zip",
            "sha256:99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
        ),
    )

    def find_cases(self) -> list[Case]:
        """Pairs of the same ISIC number."""
        images = readers.files(self.subfolder("ISIC2018_Task1-2_Training_Input"), (".jpg",))
        masks = readers.files(self.subfolder("ISIC2018_Task1_Training_GroundTruth"), ("_segmentation.png",))
        return [Case(image.stem, (image,), (mask,)) for image, mask in pair_by_stem(images, masks, "_segmentation")]

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """1,661 / 415 / 518. Assumption: the paper's ids count the images in order, from 1."""
        return by_position([case.name for case in cases], 2594, ISIC_VAL, ISIC_TEST, first=1)
