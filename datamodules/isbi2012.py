"""ISBI 2012: neuronal membranes in electron microscopy."""

from pathlib import Path

from . import readers
from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData, pair_by_stem
from .masks import Binary


class ISBI2012(ImageData):
    """ISBI 2012 challenge: membranes in 30 consecutive slices of serial-section electron microscopy.

    Classes: 0 cell, 1 membrane (the files hold 255 for cell). Licence: challenge data, none stated.
    Layout: the stacks `train-volume.tif` and `train-labels.tif`, or slices in `membrane/train/{image,label}/0.png`.
    Neighbouring slices look alike: `split="grouped"` puts blocks of five together.
    Citation: Cardona et al., PLoS Biology 2010; Arganda-Carreras et al., Frontiers in Neuroanatomy 2015.

    Example:
        >>> from datamodules import ISBI2012
        >>> data = ISBI2012(root="isbi2012", fold=0)
        >>> data.class_names
        ('cell', 'membrane')
    """

    info = DataInfo(
        title="ISBI 2012 EM",
        task="neuronal membranes, electron microscopy",
        cases="30 slices",
        size="512 x 512",
        spacing="4 x 4 nm, slices 50 nm",
        licence="challenge data, none stated",
        citation="Arganda-Carreras et al., Front. Neuroanat. 2015",
        source="https://imagej.net/events/isbi-2012-segmentation-challenge",
        layout="train-volume.tif and train-labels.tif, or membrane/train/{image,label}/*.png",
        paper="stand-in",
    )
    folder = "isbi2012"
    class_names = ("cell", "membrane")
    in_channels = 1
    coding = Binary(invert=True)
    default_size = (512, 512)

    def find_cases(self) -> list[Case]:
        """The slices in order."""
        root = self.existing_root()
        stack, labels = root / "train-volume.tif", root / "train-labels.tif"
        if stack.exists():
            if not labels.exists():
                raise DataError(f"{labels}: does not exist. {self.advice(root)}")
            return [self._case(f"slice_{n:02d}", n, stack, labels, n) for n in range(readers.pages(stack))]
        images = readers.files(self.subfolder("membrane/train/image"), (".png",))
        pairs = pair_by_stem(images, readers.files(self.subfolder("membrane/train/label"), (".png",)))
        return [self._case(f"slice_{int(i.stem):02d}", int(i.stem), i, m, None) for i, m in pairs if i.stem.isdigit()]

    @staticmethod
    def _case(name: str, number: int, image: Path, mask: Path, page: int | None) -> Case:
        return Case(name, (image,), (mask,), f"block_{number // 5}", page=page)
