"""BraTS: brain tumours in four MR sequences, in the forms of several years."""

from pathlib import Path
from typing import Any

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .masks import Index
from .volumes import VolumeData

MODALITIES = ("flair", "t1", "t1ce", "t2")
_CLASSES = ("background", "necrotic and non-enhancing core", "oedema", "enhancing tumour")
# Raw labels to classes of _CLASSES, by form.
_LABELS = {
    "2015": {1: 1, 2: 2, 3: 1, 4: 3},
    "2018": {1: 1, 2: 2, 4: 3},
    "decathlon": {1: 2, 2: 1, 3: 3},
}
_REGIONS = {"whole tumour": [1, 2, 3], "tumour core": [1, 3], "enhancing tumour": [3]}
_DEEPMEDIC = {"flair": "Flair", "t1": "T1", "t1ce": "T1c", "t2": "T2"}


class BraTS(VolumeData):
    """BraTS: brain tumours in MR (FLAIR, T1, T1 with contrast, T2), 240 x 240 x 155 voxels of 1 mm.

    Four folder forms are recognised: 2015 (.mha of the challenge, or the NIfTI copies of DeepMedic with a brain mask),
    2018 to 2021, and the Decathlon's Task01. Labels may be stored as float. Patients stay together. With `slices` the
    axial slices are images, as in the papers on 2D networks.

    Classes: 0 background, 1 necrotic and non-enhancing core, 2 oedema, 3 enhancing tumour; or 1 the whole tumour; or
        the challenge's regions, which overlap: whole tumour (1, 2, 3), tumour core (1, 3), enhancing tumour (3).
    Licence: CC BY-NC-SA 3.0 (2015), terms of the challenge later, CC-BY-SA 4.0 (Decathlon).
    Layout: `<subject>/<subject>_{flair,t1,t1ce,t2,seg}.nii.gz` at any depth;
        `<subject>/{Flair,T1c,...}_subtrMeanDivStd.nii.gz`
    with `OTMultiClass.nii.gz`; `<subject>/VSD.Brain.XX.O.MR_Flair.*/*.mha`; or `imagesTr`, `labelsTr`.
    Citation: Menze et al., IEEE TMI 2015; Bakas et al., Scientific Data 2017.

    Args:
        target: "classes" (four classes) or "whole" (whole tumour against the rest).
        modalities: Which of flair, t1, t1ce, t2 are the channels.
        tissue: Name of a tissue mask in each subject's folder (as wm.nii.gz), for normalisation "tissue"; the brain
            mask of the 2015 copies is used where none is named.
        regions: True for the challenge's regions, or regions of your own as in `SegmentationData`.
        **kwargs: Arguments of `VolumeData` and `SegmentationData`.

    Example:
        >>> from datamodules import BraTS
        >>> data = BraTS(root="brats", modalities=["flair", "t2"])
        >>> data.class_names
        ('background', 'necrotic and non-enhancing core', 'oedema', 'enhancing tumour')
        >>> list(BraTS(root="brats", regions=True).regions.united)
        ['whole tumour', 'tumour core', 'enhancing tumour']
    """

    info = DataInfo(
        title="BraTS",
        task="brain tumour, MR (four sequences)",
        cases="274 (2015), 285 (2018), 335 (2019), 369 (2020), 1,251 (2021), 484 (Decathlon)",
        size="240 x 240 x 155",
        spacing="1 mm",
        licence="CC BY-NC-SA 3.0 (2015), challenge terms, CC-BY-SA 4.0 (Decathlon)",
        citation="Menze et al., IEEE TMI 2015",
        source="https://www.synapse.org/brats (registration), or Task01_BrainTumour of http://medicaldecathlon.com",
        layout="<subject>/<subject>_{flair,t1,t1ce,t2,seg}.nii.gz, or the 2015 or Decathlon form",
        paper="GDL, MbLS",
        classes="background, necrotic and non-enhancing core, oedema, enhancing tumour; or whole tumour; or regions",
    )
    folder = "brats"
    other_folders = ("brats2015",)
    default_normalisation = "nonzero"
    default_patch = (96, 96, 96)
    paper_sizes = (235, 35, 65)

    def __init__(
        self,
        target: str = "classes",
        modalities: list[str] | None = None,
        tissue: str | None = None,
        regions: bool | dict[str, list[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(regions=_REGIONS if regions is True else regions or None, **kwargs)
        if target not in ("classes", "whole"):
            raise DataError(f"target={target!r}: use classes or whole.")
        self.modalities = tuple(modalities or MODALITIES)
        if not set(self.modalities) <= set(MODALITIES):
            raise DataError(f"modalities={modalities}: use some of {', '.join(MODALITIES)}.")
        self.target, self.tissue = target, tissue
        self.in_channels = len(self.modalities)
        self.class_names = _CLASSES if target == "classes" else ("background", "whole tumour")

    def find_cases(self) -> list[Case]:
        """Subjects of whichever form lies under the root."""
        root = self.existing_root()
        for form, find in (("decathlon", self._decathlon), ("2018", self._later), ("2015", self._first)):
            cases = find(root)
            if cases:
                mapping = _LABELS[form]
                if self.target == "whole":
                    mapping = dict.fromkeys(mapping, 1)
                self.coding = Index(self.num_classes, {0: 0} | mapping)
                return cases
        raise DataError(f"BraTS: {root} holds no subject of a form that is known. {self.advice(root)}")

    def _decathlon(self, root: Path) -> list[Case]:
        folder = root if (root / "imagesTr").is_dir() else root / "Task01_BrainTumour"
        if not (folder / "imagesTr").is_dir():
            return []
        self.channels = [MODALITIES.index(name) for name in self.modalities]
        images = readers.files(folder / "imagesTr", readers.VOLUME_ENDINGS)
        return [Case(readers.stem(path), (path,), (_existing(folder / "labelsTr" / path.name),)) for path in images]

    def _later(self, root: Path) -> list[Case]:
        cases = []
        for mask in sorted((*root.rglob("*_seg.nii.gz"), *root.rglob("*_seg.nii"))):
            subject, ending = mask.name.split("_seg.")
            images = tuple(_existing(mask.with_name(f"{subject}_{name}.{ending}")) for name in self.modalities)
            cases.append(Case(subject, images, (mask,), tissue=self._tissue(mask.parent)))
        return cases

    def _first(self, root: Path) -> list[Case]:
        cases = []
        for mask in sorted(root.rglob("OTMultiClass.nii.gz")):
            names = [f"{_DEEPMEDIC[name]}_subtrMeanDivStd.nii.gz" for name in self.modalities]
            images = tuple(_existing(mask.with_name(name)) for name in names)
            subject, brain = mask.parent.name, mask.with_name("brainmask.nii.gz")
            tissue = self._tissue(mask.parent) or (brain if brain.exists() else None)
            cases.append(Case(subject, images, (mask,), _patient(subject), tissue=tissue))
        for mask in sorted(root.rglob("*.OT.*.mha")):
            folder = mask.parent.parent
            tags = {"flair": "Flair", "t1": "T1", "t1ce": "T1c", "t2": "T2"}
            images = tuple(_single(folder, f"*MR_{tags[name]}.*/*MR_{tags[name]}.*.mha") for name in self.modalities)
            cases.append(Case(folder.name, images, (mask,), _patient(folder.name), tissue=self._tissue(folder)))
        return cases

    def _tissue(self, folder: Path) -> Path | None:
        return _existing(folder / self.tissue) if self.tissue else None


def _patient(subject: str) -> str:
    """`brats_2013_pat0001_1` is scan 1 of patient `brats_2013_pat0001`."""
    head, _, scan = subject.rpartition("_")
    return head if head and scan.isdigit() else subject


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataError(f"{path}: does not exist. Complete the subject, remove it, or choose other modalities.")
    return path


def _single(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise DataError(f"{folder}: {len(found)} files match {pattern}, one is needed. Unpack the subject again.")
    return found[0]
