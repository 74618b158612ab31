"""DRIVE: vessels in retinal fundus images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData
from .published import DRIVE_TEST, DRIVE_VAL, by_position


class DRIVE(ImageData):
    """DRIVE: retinal vessels in 40 colour fundus photographs, 20 for training and 20 for testing.

    Pixels outside the field of view are ignored. The test images have a second observer, a human yardstick.

    Classes: 0 background, 1 vessel. Licence: free for research, to be obtained from its owner.
    Layout: `DRIVE/training/{images,1st_manual,mask}`, `DRIVE/test/{images,1st_manual,2nd_manual,mask}`, files
    `21_training.tif`, `21_manual1.gif`, `21_training_mask.gif`. Citation: Staal et al., IEEE TMI 2004.

    Args:
        observer: 1 or 2; the second saw only the test images, the training masks stay the first's.
        field_of_view: Ignore pixels outside the field of view.
        **kwargs: Arguments of `ImageData` and `SegmentationData`.

    Example:
        >>> from datamodules import DRIVE
        >>> data = DRIVE(root="drive", observer=1)
        >>> data.class_names
        ('background', 'vessel')
    """

    info = DataInfo(
        title="DRIVE",
        task="retinal vessels, colour fundus photographs",
        cases="40 (20 + 20)",
        size="565 x 584",
        spacing="-",
        licence="research only, from the owner",
        citation="Staal et al., IEEE TMI 2004",
        source="https://drive.grand-challenge.org (registration)",
        layout="DRIVE/training/images/21_training.tif, DRIVE/test/images/01_test.tif, ...",
        paper="DSC++",
    )
    class_names = ("background", "vessel")
    default_split = "paper"
    default_size = (512, 512)

    def __init__(self, observer: int = 1, field_of_view: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if observer not in (1, 2):
            raise DataError(f"observer={observer}: must be 1 or 2.")
        self.observer, self.field_of_view = observer, field_of_view

    def find_cases(self) -> list[Case]:
        """The training images, then the test images."""
        return [case for part in ("training", "test") for case in self._part(self.subfolder(f"DRIVE/{part}"), part)]

    def _part(self, folder: Path, part: str) -> list[Case]:
        observer = self.observer if part == "test" else 1
        cases = []
        for image in readers.files(folder / "images", (".tif",)):
            number = image.name.partition("_")[0]
            manual = folder / ("1st_manual" if observer == 1 else "2nd_manual") / f"{number}_manual{observer}.gif"
            field = folder / "mask" / f"{number}_{part}_mask.gif" if self.field_of_view else None
            for path in (manual, field):
                if path is not None and not path.exists():
                    raise DataError(f"{image}: {path} is missing. {self.advice(self.root_path())}")
            cases.append(
                Case(number, (image,), (manual,), subset="train" if part == "training" else "test", valid=field)
            )
        return cases

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """16 / 4 / 20. Assumption: the paper's ids 0-19 are the training images 21-40, 20-39 the test images 01-20."""
        order = [case.name for case in sorted(cases, key=lambda case: (case.subset == "test", case.name))]
        return by_position(order, 40, DRIVE_VAL, DRIVE_TEST, first=0)
