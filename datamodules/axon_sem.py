"""AxonDeepSeg SEM: axons and myelin."""

from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData
from .masks import PerClass


class AxonSEM(ImageData):
    """AxonDeepSeg SEM: axons and myelin in scanning electron microscopy of rat nerve, three classes.

    Classes: 0 background, 1 myelin, 2 axon; each in a mask file of its own. Licence: MIT.
    Layout: BIDS, `sub-*/[ses-*/]micr/*_SEM.png` and `derivatives/labels/<same>_seg-{axon,myelin}-manual.png`, in the
        root or
    a folder below it. Images differ in size: training takes crops. With few animals `split="grouped"` (by animal)
    cannot fill three subsets, so the default is random and warns. Citation: Zaimi et al., Scientific Reports 2018.

    Example:
        >>> from datamodules import AxonSEM
        >>> data = AxonSEM(root="axon_sem", patch_size=[512, 512])
        >>> data.class_names
        ('background', 'myelin', 'axon')
    """

    info = DataInfo(
        title="AxonDeepSeg SEM",
        task="axons and myelin, electron microscopy",
        cases="10 (varies by version)",
        size="about 730 x 730 to 840 x 770",
        spacing="0.1 to 0.2 µm",
        licence="MIT",
        citation="Zaimi et al., Scientific Reports 2018",
        source="https://github.com/axondeepseg/data_axondeepseg_sem",
        layout="sub-*/micr/*_SEM.png and derivatives/labels/sub-*/micr/*_seg-{axon,myelin}-manual.png",
        paper="stand-in",
    )
    folder = "axon_sem"
    class_names = ("background", "myelin", "axon")
    in_channels = 1
    coding = PerClass()
    default_size = None
    default_patch = (256, 256)
    default_split = "random"

    def find_cases(self) -> list[Case]:
        """Images with both masks; the animal is the group."""
        cases = []
        for image in sorted(self.existing_root().rglob("*_SEM.png")):
            base = next((p for p in image.parents if (p / "derivatives" / "labels").is_dir()), None)
            if base is None:
                raise DataError(f"{image}: no folder derivatives/labels above it. {self.advice(self.root_path())}")
            inside = image.relative_to(base)
            masks = []
            for kind in ("myelin", "axon"):
                mask = base / "derivatives/labels" / inside.parent / f"{image.stem}_seg-{kind}-manual.png"
                if not mask.exists():
                    raise DataError(f"{image}: {mask} is missing. Complete the data set, or remove the image.")
                masks.append(mask)
            cases.append(Case(image.stem, (image,), tuple(masks), inside.parts[0]))
        return cases
