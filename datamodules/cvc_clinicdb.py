"""CVC-ClinicDB: polyps in colonoscopy."""

from bisect import bisect_right
from collections.abc import Sequence

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData, pair_by_stem
from .published import CVC_TEST, CVC_VAL, by_name, numbers

FIRST_FRAMES = numbers(
    "1 26 51 68 79 104 127 152 178 200 206 228 253 278 298 318 343 364 384 409 429 448 467 479 504 529 547 572 592"
)


class CVCClinicDB(ImageData):
    """CVC-ClinicDB: polyps in 612 frames of 29 colonoscopy sequences.

    Frames of one sequence look nearly alike, so the default split keeps sequences together; the paper's split does not,
    and leaks. The original TIFF files (RGB with a greyscale tag, which Pillow refuses) and the widespread PNG form are
    read alike; grey edges of masks are thresholded.

    Classes: 0 background, 1 polyp. Licence: research and education only (Hospital Clinic and Computer Vision Center,
    Barcelona). Layout: `Original/<n>.tif`, `Ground Truth/<n>.tif`, or both with `.png`. Citation: Bernal et al., CMIG
    2015.

    Example:
        >>> from datamodules import CVCClinicDB
        >>> data = CVCClinicDB(root="cvc_clinicdb", split="paper")
        >>> data.class_names
        ('background', 'polyp')
    """

    info = DataInfo(
        title="CVC-ClinicDB",
        task="polyps, colonoscopy",
        cases="612 frames of 29 sequences",
        size="384 x 288",
        spacing="-",
        licence="research and education only",
        citation="Bernal et al., CMIG 2015",
        source="https://polyp.grand-challenge.org/CVCClinicDB (registration)",
        layout="Original/<n>.tif and Ground Truth/<n>.tif (or .png)",
        paper="DSC++",
    )
    folder = "cvc_clinicdb"
    other_folders = ("cvc_clinicdb_tif",)
    class_names = ("background", "polyp")
    default_size = (288, 384)

    def find_cases(self) -> list[Case]:
        """Frames in order, each with its sequence as group."""
        images = readers.files(self.subfolder("Original"), (".tif", ".png"))
        pairs = pair_by_stem(images, readers.files(self.subfolder("Ground Truth"), (".tif", ".png")))
        for image, _ in pairs:
            if not image.stem.isdigit() or not 1 <= int(image.stem) <= 612:
                raise DataError(f"{image}: is no frame number 1..612. Keep the owner's names, which tell the sequence.")
        return [Case(i.stem, (i,), (m,), f"sequence_{bisect_right(FIRST_FRAMES, int(i.stem)):02d}") for i, m in pairs]

    def paper_names(self, cases: Sequence[Case]) -> dict[str, list[str]]:
        """392 / 98 / 122. Assumption: the paper's ids are the frame numbers; frames that are absent are left out."""
        return by_name({int(case.name): case.name for case in cases}, CVC_VAL, CVC_TEST)
