"""2018 Data Science Bowl: nuclei."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import readers
from .case import Case, DataInfo
from .download import Archive
from .errors import DataError
from .images import ImageData
from .published import DSB_TEST, DSB_VAL, by_position

COLOURED = 5.0  # of 255: mean distance of the channels


class DSB2018(ImageData):
    """2018 Data Science Bowl (BBBC038), stage 1 training set: nuclei in 670 microscopy images of several kinds.

    The files are RGBA with a constant alpha; each nucleus has a mask file of its own, and their union is the mask.

    Classes: 0 background, 1 nucleus. Licence: CC0.
    Layout: `stage1_train/<id>/images/<id>.png`, `stage1_train/<id>/masks/*.png`. Citation: Caicedo et al., Nature
    Methods 2019.

    Args:
        kind: "all", "grey" (fluorescence and bright field) or "stained" (tissue, told by its colour): two stains are a
            shift of the plainest kind.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.

    Example:
        >>> from datamodules import DSB2018
        >>> data = DSB2018(root="dsb2018")
        >>> data.class_names
        ('background', 'nucleus')
    """

    info = DataInfo(
        title="2018 Data Science Bowl (BBBC038)",
        task="nuclei, fluorescence and stained-tissue microscopy",
        cases="670",
        size="256 x 256 to 1024 x 1024",
        spacing="-",
        licence="CC0",
        citation="Caicedo et al., Nature Methods 2019",
        source="https://bbbc.broadinstitute.org/BBBC038",
        layout="stage1_train/<id>/images/<id>.png and stage1_train/<id>/masks/*.png",
        paper="DSC++",
    )
    class_names = ("background", "nucleus")
    # The archive holds the 670 folders at its top. Its owner publishes no checksum.
    archives = (
        Archive("https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip", None, "stage1_train", entries=670),
    )

    def __init__(self, kind: Literal["all", "grey", "stained"] = "all", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in ("all", "grey", "stained"):
            raise DataError(f"kind={kind!r}: use all, grey or stained.")
        self.kind = kind

    def find_cases(self) -> list[Case]:
        """A case for each folder of `stage1_train`."""
        cases = []
        folders = (path for path in self.subfolder("stage1_train").iterdir() if path.is_dir())
        for folder in sorted(path for path in folders if path.name[0] not in "._"):  # __MACOSX and the like
            image = folder / "images" / f"{folder.name}.png"
            if not image.exists():
                raise DataError(f"{image}: does not exist. Unpack stage1_train.zip again, or remove {folder}.")
            masks = readers.files(folder / "masks", (".png",)) if (folder / "masks").is_dir() else []
            if not masks:
                raise DataError(f"{folder}: holds no mask. Unpack stage1_train.zip again, or remove the folder.")
            if self.kind == "all" or is_stained(image) == (self.kind == "stained"):
                cases.append(Case(folder.name, (image,), tuple(masks)))
        return cases

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """428 / 108 / 134. Assumption: the paper's ids count the folders in sorted order, from 0."""
        return by_position([case.name for case in cases], 670, DSB_VAL, DSB_TEST, first=0)


def is_stained(image: Path) -> bool:
    """Whether an image has colour: its channels differ by more than 2 % of the range on average."""
    pixels = readers.read_image(image, 3)[::4, ::4].astype(np.float32)
    return float(np.ptp(pixels, axis=-1).mean()) > COLOURED
