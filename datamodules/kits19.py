"""KiTS19: kidneys and kidney tumours in CT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .case import Case, DataInfo
from .download import RemoteFile, fetch
from .errors import DataError
from .masks import Index
from .published import KITS_EXCLUDED, KITS_TEST, KITS_VAL, by_name, numbers
from .volumes import VolumeData

# The owner's repository keeps the labels, and its script fetches the CT files from the owner's own store. Neither names
# a checksum of today's files (those in the repository's early history are of CT files that were replaced since).
_LABELS = "https://raw.githubusercontent.com/neheller/kits19/master/data/case_{:05d}/segmentation.nii.gz"
_IMAGES = "https://kits19.sfo2.digitaloceanspaces.com/master_{:05d}.nii.gz"


class KiTS19(VolumeData):
    """KiTS19: kidneys and kidney tumours in 210 labelled CT volumes, axis 0 of the files along the body.

    Preparation as in the DSC++ paper: resampled to 3.22 x 1.62 x 1.62 mm (cubic), clipped to -79..304 HU, z-scored a
    volume, patches of 80 x 160 x 160.

    Classes: 0 background, 1 kidney, 2 tumour. Licence: CC BY-NC-SA 4.0.
    Layout: `data/case_00000/imaging.nii.gz`, `data/case_00000/segmentation.nii.gz`. Citation: Heller et al., arXiv
    1904.00445.

    Args:
        exclude_faulty: Leave out the six cases that the paper left out (15, 23, 37, 68, 125, 133).
        download_cases: Numbers of the cases that `download` fetches; all 210 (tens of GB) if left out.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import KiTS19
        >>> data = KiTS19(root="kits19", exclude_faulty=True)
        >>> data.class_names
        ('background', 'kidney', 'tumour')
    """

    info = DataInfo(
        title="KiTS19",
        task="kidney and kidney tumour, CT",
        cases="210 (204 used)",
        size="512 x 512 x 29 to 1059",
        spacing="0.4-1.0 x 0.4-1.0 x 0.5-5 mm",
        licence="CC BY-NC-SA 4.0",
        citation="Heller et al., arXiv 1904.00445",
        source="https://github.com/neheller/kits19 (its script fetches the CT files)",
        layout="data/case_00000/{imaging,segmentation}.nii.gz",
        paper="DSC++",
        downloadable=True,
    )
    folder = "kits19"
    class_names = ("background", "kidney", "tumour")
    coding = Index(3)
    default_patch = (80, 160, 160)
    default_spacing = (3.22, 1.62, 1.62)
    default_clip = (-79.0, 304.0)
    resample_order = 3

    label_url, image_url = _LABELS, _IMAGES

    def __init__(self, exclude_faulty: bool = True, download_cases: list[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.exclude_faulty = exclude_faulty
        self.download_cases = list(range(210)) if download_cases is None else download_cases
        if not self.download_cases or not set(self.download_cases) <= set(range(210)):
            raise DataError(f"download_cases={download_cases}: give numbers of 0..209.")

    def fetch(self, root: Path) -> None:
        """Download the labels from the owner's repository and the CT files from the owner's store, a case at a time."""
        files = []
        for number in self.download_cases:
            folder = f"data/case_{number:05d}"
            files.append(RemoteFile(self.label_url.format(number), f"{folder}/segmentation.nii.gz"))
            files.append(RemoteFile(self.image_url.format(number), f"{folder}/imaging.nii.gz"))
        fetch(files, root)

    def find_cases(self) -> list[Case]:
        """The labelled cases."""
        excluded = set(numbers(KITS_EXCLUDED)) if self.exclude_faulty else set()
        cases = []
        for folder in sorted(self.subfolder("data").glob("case_*")):
            image, mask = folder / "imaging.nii.gz", folder / "segmentation.nii.gz"
            number = folder.name.removeprefix("case_")
            if not number.isdigit() or int(number) in excluded or not mask.exists():
                continue
            if not image.exists():
                raise DataError(
                    f"{image}: does not exist. The CT files come apart from the labels: {self.info.source}; "
                    "--data.download true fetches both into a new folder."
                )
            cases.append(Case(folder.name, (image,), (mask,)))
        return cases

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """130 / 33 / 41 by the official case numbers; cases that are absent are left out."""
        return by_name({int(case.name.removeprefix("case_")): case.name for case in cases}, KITS_VAL, KITS_TEST)
