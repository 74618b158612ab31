"""ACDC: heart in cine-MR."""

import re

from .case import Case, DataInfo
from .errors import DataError
from .masks import Index
from .volumes import VolumeData

_FRAME = re.compile(r"patient\d+_frame\d+\.nii(\.gz)?$")


class ACDC(VolumeData):
    """ACDC: heart in cine-MR, 100 patients at end of diastole and of systole (and 50 for testing).

    The two phases of a patient stay together. MbLS uses axial slices (`slices`) of 192 x 192 and 70 / 10 / 20 patients.

    Classes: 0 background, 1 right ventricle, 2 myocardium, 3 left ventricle. Licence: research, registration.
    Layout: `training/patient001/patient001_frame01.nii.gz` and `..._frame01_gt.nii.gz`; the same in `testing`.
    Citation: Bernard et al., IEEE TMI 2018.

    Example:
        >>> from datamodules import ACDC
        >>> data = ACDC(root="acdc", split="paper", patch_size=[8, 192, 192])
        >>> data.class_names
        ('background', 'right ventricle', 'myocardium', 'left ventricle')
    """

    info = DataInfo(
        title="ACDC",
        task="heart: right ventricle, myocardium, left ventricle, cine-MR",
        cases="200 volumes of 100 patients (+ 100 of 50 for testing)",
        size="about 216 x 256 x 10",
        spacing="1.4-1.7 x 1.4-1.7 x 5-10 mm",
        licence="research, registration",
        citation="Bernard et al., IEEE TMI 2018",
        source="https://www.creatis.insa-lyon.fr/Challenge/acdc (registration)",
        layout="training/patient001/patient001_frame01.nii.gz and patient001_frame01_gt.nii.gz",
        paper="MbLS",
    )
    folder = "acdc"
    class_names = ("background", "right ventricle", "myocardium", "left ventricle")
    coding = Index(4)
    default_patch = (8, 192, 192)
    paper_sizes = (140, 20, 40)

    def find_cases(self) -> list[Case]:
        """The labelled frames of both parts."""
        root, cases = self.existing_root(), []
        base = root / "database" if (root / "database").is_dir() else root
        for part, subset in (("training", "train"), ("testing", "test")):
            for image in sorted(base.glob(f"{part}/patient*/patient*_frame*.nii*")):
                if not _FRAME.match(image.name):
                    continue
                mask = image.with_name(image.name.replace(".nii", "_gt.nii"))
                if not mask.exists():
                    raise DataError(f"{image}: has no {mask.name}. Unpack the patient again, or remove the image.")
                cases.append(Case(image.name.split(".")[0], (image,), (mask,), image.parent.name, subset))
        return cases
