"""WMH 2017: white matter hyperintensities in MR."""

from typing import Any

from .case import Case, DataInfo
from .errors import DataError
from .masks import IGNORE, Index
from .volumes import VolumeData


class WMH2017(VolumeData):
    """MICCAI WMH challenge 2017: white matter hyperintensities in 60 training and 110 test brains of five scanners.

    Other pathology (label 2) is ignored, as in the challenge's evaluation. Public stand-in for the 3D data of the
    Generalised Dice paper, which keeps 52 of 524 for testing, has no validation set (here 40), and normalises by the
    white matter.

    Classes: 0 background, 1 white matter hyperintensity. Licence: CC BY-NC 4.0 (DataverseNL).
    Layout: `<site>/.../<n>/pre/{FLAIR,T1}.nii.gz` with `<n>/wmh.nii.gz`, at any depth; below `training` or `test` the
        owner's
    subset is taken from the path. Citation: Kuijf et al., IEEE TMI 2019.

    Args:
        tissue: Name of a tissue mask in each subject's folder (as wm.nii.gz), for normalisation "tissue".
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import WMH2017
        >>> data = WMH2017(root="wmh2017", split="official")
        >>> data.class_names
        ('background', 'white matter hyperintensity')
    """

    info = DataInfo(
        title="WMH 2017",
        task="white matter hyperintensities, MR (FLAIR, T1)",
        cases="60 + 110",
        size="132 x 256 x 83 to 256 x 256 x 48",
        spacing="about 1 x 1 x 3 mm",
        licence="CC BY-NC 4.0",
        citation="Kuijf et al., IEEE TMI 2019",
        source="https://doi.org/10.34894/AECRSD",
        layout="<site>/<n>/pre/{FLAIR,T1}.nii.gz and <site>/<n>/wmh.nii.gz",
        paper="GDL",
    )
    folder = "wmh2017"
    class_names = ("background", "white matter hyperintensity")
    in_channels = 2
    coding = Index(2, {0: 0, 1: 1, 2: IGNORE})
    default_patch = (48, 96, 96)
    paper_sizes = (432, 40, 52)

    def __init__(self, tissue: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tissue = tissue

    def find_cases(self) -> list[Case]:
        """Subjects at any depth, named by their path."""
        root, cases = self.existing_root(), []
        for mask in sorted(root.rglob("wmh.nii.gz")):
            folder = mask.parent
            images = tuple(folder / "pre" / f"{name}.nii.gz" for name in ("FLAIR", "T1"))
            tissue = folder / self.tissue if self.tissue else None
            for path in (*images, *((tissue,) if tissue else ())):
                if not path.exists():
                    raise DataError(f"{path}: does not exist. Unpack the subject again, or remove {folder}.")
            parts = folder.relative_to(root).parts
            subset = next((part for part in parts if part in ("training", "test")), "")
            cases.append(
                Case(
                    "_".join(parts), images, (mask,), subset="train" if subset == "training" else subset, tissue=tissue
                )
            )
        return cases
