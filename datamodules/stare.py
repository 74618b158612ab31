"""STARE: vessels in retinal fundus images."""

from typing import Any, Literal

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData


class STARE(ImageData):
    """STARE: retinal vessels in 20 colour fundus photographs, a usual test of networks trained on DRIVE.

    Pixels outside the field of view are ignored where its masks are there.

    Classes: 0 background, 1 vessel. Licence: none stated by its owner; research.
    Layout: `STARE/test/images/im0001.ppm`, `STARE/test/1st_manual/im0001.ah.ppm`, `STARE/test/mask/im0001.ppm`.
    Citation: Hoover et al., IEEE TMI 2000.

    Args:
        observer: `ah` or `vk`, whose labels.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.

    Example:
        >>> from datamodules import STARE
        >>> data = STARE(root="stare", observer="ah")
        >>> data.class_names
        ('background', 'vessel')
    """

    info = DataInfo(
        title="STARE",
        task="retinal vessels, colour fundus photographs",
        cases="20",
        size="700 x 605",
        spacing="-",
        licence="none stated, research",
        citation="Hoover et al., IEEE TMI 2000",
        source="https://cecas.clemson.edu/~ahoover/stare",
        layout="STARE/test/{images,mask}/im0001.ppm, STARE/test/1st_manual/im0001.ah.ppm",
        paper="shift from DRIVE",
    )
    folder = "stare"
    class_names = ("background", "vessel")
    default_size = (512, 512)

    def __init__(self, observer: Literal["ah", "vk"] = "ah", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observer = observer

    def find_cases(self) -> list[Case]:
        """Every image with the observer's labels and, where it is there, its field of view."""
        folder = self.subfolder("STARE/test")
        manual = folder / ("1st_manual" if self.observer == "ah" else "2nd_manual")
        cases = []
        for image in readers.files(folder / "images", (".ppm",)):
            mask, field = manual / f"{image.stem}.{self.observer}.ppm", folder / "mask" / image.name
            if not mask.exists():
                raise DataError(f"{image}: {mask} is missing. {self.advice(self.root_path())}")
            cases.append(Case(image.stem, (image,), (mask,), valid=field if field.exists() else None))
        return cases
