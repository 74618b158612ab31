"""MRBrainS18: brain tissue in MR."""

from .case import Case, DataInfo
from .errors import DataError
from .masks import IGNORE, Index
from .volumes import VolumeData


class MRBrainS18(VolumeData):
    """MRBrainS18: brain tissue in 7 labelled brains (T1, inversion recovery, FLAIR).

    The ten labels of the files are joined as in the challenge's three-tissue evaluation: 1 and 2 are grey matter, 3 and
    4 white matter (with lesions), 5 and 6 fluid (with ventricles); cerebellum, brain stem, infarction and other (7 to
    10) are ignored. MbLS trains on 5 and tests on 2; here one of the 5 is for validation.

    Classes: 0 background, 1 grey matter, 2 white matter, 3 cerebrospinal fluid. Licence: research, registration.
    Layout: `training/<n>/pre/{T1,IR,FLAIR}.nii.gz`, `training/<n>/segm.nii.gz`. Citation: Kuijf et al., MRBrainS18
        2018.

    Example:
        >>> from datamodules import MRBrainS18
        >>> data = MRBrainS18(root="mrbrains18", fold=0, num_folds=7)
        >>> data.class_names
        ('background', 'grey matter', 'white matter', 'cerebrospinal fluid')
    """

    info = DataInfo(
        title="MRBrainS18",
        task="brain tissue, MR (three sequences)",
        cases="7",
        size="240 x 240 x 48",
        spacing="0.96 x 0.96 x 3 mm",
        licence="research, registration",
        citation="Kuijf et al., MRBrainS18, 2018",
        source="https://mrbrains18.isi.uu.nl (registration)",
        layout="training/<n>/pre/{T1,IR,FLAIR}.nii.gz and training/<n>/segm.nii.gz",
        paper="MbLS",
    )
    folder = "mrbrains18"
    class_names = ("background", "grey matter", "white matter", "cerebrospinal fluid")
    in_channels = 3
    coding = Index(4, {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 6: 3, 7: IGNORE, 8: IGNORE, 9: IGNORE, 10: IGNORE})
    default_patch = (32, 192, 192)
    paper_sizes = (4, 1, 2)

    def find_cases(self) -> list[Case]:
        """The labelled subjects."""
        cases = []
        folders = sorted((p for p in self.subfolder("training").iterdir() if p.is_dir()), key=lambda path: path.name)
        for folder in folders:
            images = tuple(folder / "pre" / f"{name}.nii.gz" for name in ("T1", "IR", "FLAIR"))
            mask = folder / "segm.nii.gz"
            for path in (*images, mask):
                if not path.exists():
                    raise DataError(f"{path}: does not exist. Unpack the subject again, or remove {folder}.")
            cases.append(Case(f"subject_{folder.name}", images, (mask,)))
        return cases
