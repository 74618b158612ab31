"""FLARE 2021: abdominal organs in CT."""

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .masks import Index
from .volumes import VolumeData


class FLARE21(VolumeData):
    """FLARE 2021: liver, kidneys, spleen and pancreas in 361 labelled abdominal CT volumes.

    MbLS stores axial slices of 192 x 192 and uses 240 / 40 / 80 volumes.

    Classes: 0 background, 1 liver, 2 kidney, 3 spleen, 4 pancreas. Licence: research, registration.
    Layout: `TrainingImg/train_000_0000.nii.gz`, `TrainingMask/train_000.nii.gz`. Citation: Ma et al., MedIA 2022.

    Example:
        >>> from datamodules import FLARE21
        >>> data = FLARE21(root="flare21", slices=True)
        >>> data.class_names
        ('background', 'liver', 'kidney', 'spleen', 'pancreas')
    """

    info = DataInfo(
        title="FLARE 2021",
        task="liver, kidney, spleen, pancreas, CT",
        cases="361",
        size="512 x 512 x 40 to 600",
        spacing="about 0.8 x 0.8 x 1-5 mm",
        licence="research, registration",
        citation="Ma et al., MedIA 2022",
        source="https://flare.grand-challenge.org (registration)",
        layout="TrainingImg/train_000_0000.nii.gz and TrainingMask/train_000.nii.gz",
        paper="MbLS",
    )
    folder = "flare21"
    class_names = ("background", "liver", "kidney", "spleen", "pancreas")
    coding = Index(5)
    default_patch = (64, 192, 192)
    default_clip = (-200.0, 300.0)
    paper_sizes = (240, 40, 80)

    def find_cases(self) -> list[Case]:
        """Volumes with their masks."""
        folder, cases = self.subfolder("TrainingImg"), []
        for image in readers.files(folder, (".nii.gz",)):
            name = readers.stem(image).removesuffix("_0000")
            mask = self.subfolder("TrainingMask") / f"{name}.nii.gz"
            if not mask.exists():
                raise DataError(f"{image}: {mask} is missing. Unpack TrainingMask again, or remove the image.")
            cases.append(Case(name, (image,), (mask,)))
        return cases
