"""BUSI: breast ultrasound."""

import re
from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData

_MASK = re.compile(r"_mask(_\d+)?$")


class BUSI(ImageData):
    """BUSI: lesions in 780 breast ultrasound images (437 benign, 210 malignant, 133 normal).

    An image may have several mask files (1-bit or RGB), one a lesion; their union is the mask. Masks of normal images
    are empty.

    Classes: 0 background, 1 lesion. Licence: CC BY 4.0 (data paper).
    Layout: `Dataset_BUSI_with_GT/benign/benign (1).png`, `benign (1)_mask.png`, `benign (1)_mask_1.png`, and the same
        for
    `malignant` and `normal`. Citation: Al-Dhabyani et al., Data in Brief 2020.

    Args:
        normal: Include the normal images, which hold no lesion.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.

    Example:
        >>> from datamodules import BUSI
        >>> data = BUSI(root="busi", normal=False)
        >>> data.class_names
        ('background', 'lesion')
    """

    info = DataInfo(
        title="BUSI",
        task="breast lesions, ultrasound",
        cases="780 (437 benign, 210 malignant, 133 normal)",
        size="about 560 x 470",
        spacing="-",
        licence="CC BY 4.0",
        citation="Al-Dhabyani et al., Data in Brief 2020",
        source="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        layout="Dataset_BUSI_with_GT/{benign,malignant,normal}/<case>.png and <case>_mask*.png",
        paper="MbLS (follow-ups)",
    )
    folder = "busi"
    class_names = ("background", "lesion")
    in_channels = 1

    def __init__(self, normal: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normal = normal

    def find_cases(self) -> list[Case]:
        """Images by kind and number; each is a group of its own, with all its lesions."""
        cases = []
        for kind in ("benign", "malignant", "normal") if self.normal else ("benign", "malignant"):
            found = readers.files(self.subfolder(f"Dataset_BUSI_with_GT/{kind}"), (".png",))
            masks: dict[str, list] = {path.stem: [] for path in found if not _MASK.search(path.stem)}
            for path in found:
                name = _MASK.sub("", path.stem)
                if name == path.stem:
                    continue
                if name not in masks:
                    raise DataError(f"{path}: mask without an image. Add {name}.png or remove the mask.")
                masks[name].append(path)
            for name, paths in masks.items():
                if not paths:
                    raise DataError(f"{path.parent / name}.png: has no {name}_mask.png. Add it or remove the image.")
                cases.append(Case(name, (path.parent / f"{name}.png",), tuple(paths)))
        return cases
