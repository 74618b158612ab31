"""BUS2017, set B (UDIAT): breast ultrasound."""

from collections.abc import Sequence

from . import readers
from .case import Case, DataInfo
from .images import ImageData, pair_by_stem
from .published import BUS_TEST, BUS_VAL, by_position


class BUS2017(ImageData):
    """BUS2017 data set B (UDIAT): lesions in 163 breast ultrasound images.

    Classes: 0 background, 1 lesion. Licence: research only, given out on signed request.
    Layout: `BUS/original/000001.png`, `BUS/GT/000001.png`. Citation: Yap et al., IEEE JBHI 2018.

    Example:
        >>> from datamodules import BUS2017
        >>> data = BUS2017(root="bus2017", split="paper")
        >>> data.class_names
        ('background', 'lesion')
    """

    info = DataInfo(
        title="BUS2017 set B (UDIAT)",
        task="breast lesions, ultrasound",
        cases="163",
        size="about 760 x 570",
        spacing="-",
        licence="research only, on signed request",
        citation="Yap et al., IEEE JBHI 2018",
        source="the authors, on signed request (http://goo.gl/SJmoti)",
        layout="BUS/original/000001.png and BUS/GT/000001.png",
        paper="DSC++",
    )
    folder = "bus2017"
    class_names = ("background", "lesion")
    default_size = (128, 128)

    def find_cases(self) -> list[Case]:
        """Pairs of the same number."""
        folder = self.subfolder("BUS/original").parent
        images = readers.files(folder / "original", (".png",))
        pairs = pair_by_stem(images, readers.files(self.subfolder("BUS/GT"), (".png",)))
        return [Case(image.stem, (image,), (mask,)) for image, mask in pairs]

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """104 / 26 / 33. Assumption: the paper's ids count the images in order, from 0."""
        return by_position([case.name for case in cases], 163, BUS_VAL, BUS_TEST, first=0)
