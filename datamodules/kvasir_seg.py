"""Kvasir-SEG: polyps in colonoscopy."""

from . import readers
from .case import Case, DataInfo
from .images import ImageData, pair_by_stem


class KvasirSEG(ImageData):
    """Kvasir-SEG: polyps in 1,000 colonoscopy frames; the masks are JPEG, thresholded at 127.

    Classes: 0 background, 1 polyp. Licence: research and education. Layout: `Kvasir-SEG/{images,masks}/<id>.jpg`.
    Citation: Jha et al., MMM 2020.

    Example:
        >>> from datamodules import KvasirSEG
        >>> data = KvasirSEG(root="kvasir_seg")
        >>> data.class_names
        ('background', 'polyp')
    """

    info = DataInfo(
        title="Kvasir-SEG",
        task="polyps, colonoscopy",
        cases="1,000",
        size="332 x 487 to 1920 x 1072",
        spacing="-",
        licence="research and education",
        citation="Jha et al., MMM 2020",
        source="https://datasets.simula.no/kvasir-seg",
        layout="Kvasir-SEG/{images,masks}/<id>.jpg",
        paper="shift from CVC-ClinicDB",
    )
    folder = "kvasir_seg"
    class_names = ("background", "polyp")
    default_size = (288, 384)

    def find_cases(self) -> list[Case]:
        """Pairs of one name."""
        folder = self.subfolder("Kvasir-SEG/images").parent
        images, masks = (readers.files(folder / name, (".jpg", ".png")) for name in ("images", "masks"))
        return [Case(image.stem, (image,), (mask,)) for image, mask in pair_by_stem(images, masks)]
