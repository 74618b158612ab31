"""PROMISE12: prostate in MR."""

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .volumes import VolumeData


class PROMISE12(VolumeData):
    """PROMISE12: prostate in 50 labelled T2 MR volumes of several hospitals, in MetaImage format.

    What MbLS calls PROMISE has three classes and is named like the Decathlon's Task05_Prostate; for those numbers use
    `Decathlon(task="Task05_Prostate")`.

    Classes: 0 background, 1 prostate. Licence: research, registration.
    Layout: `Case00.mhd`, `Case00.raw`, `Case00_segmentation.mhd`, `Case00_segmentation.raw`, in the root or below it.
    Citation: Litjens et al., MedIA 2014.

    Example:
        >>> from datamodules import PROMISE12
        >>> data = PROMISE12(root="promise12")
        >>> data.class_names
        ('background', 'prostate')
    """

    info = DataInfo(
        title="PROMISE12",
        task="prostate, T2 MR",
        cases="50",
        size="256 x 256 to 512 x 512, 15 to 54 slices",
        spacing="0.27-0.75 x 0.27-0.75 x 2.2-4 mm",
        licence="research, registration",
        citation="Litjens et al., MedIA 2014",
        source="https://promise12.grand-challenge.org (registration)",
        layout="Case00.mhd with .raw, and Case00_segmentation.mhd with .raw",
        paper="MbLS",
    )
    folder = "promise12"
    class_names = ("background", "prostate")
    default_patch = (16, 160, 160)

    def find_cases(self) -> list[Case]:
        """Volumes with a segmentation."""
        cases = []
        for image in sorted(self.existing_root().rglob("Case*.mhd"), key=lambda path: readers.natural(path.name)):
            if image.stem.endswith("_segmentation"):
                if not image.with_name(image.name.replace("_segmentation", "")).exists():
                    raise DataError(f"{image}: mask without an image. Unpack the data set again, or remove the mask.")
                continue
            mask = image.with_name(f"{image.stem}_segmentation.mhd")
            if mask.exists():
                cases.append(Case(image.stem, (image,), (mask,)))
        return cases
