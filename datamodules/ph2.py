"""PH2: dermoscopy."""

from .case import Case, DataInfo
from .errors import DataError
from .images import ImageData


class PH2(ImageData):
    """PH2: lesions in 200 dermoscopic images.

    Classes: 0 background, 1 lesion. Licence: research and education (ADDI project).
    Layout: `PH2Dataset/PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp` and
    `IMD003/IMD003_lesion/IMD003_lesion.bmp` (1 bit). Citation: Mendonça et al., EMBC 2013.

    Example:
        >>> from datamodules import PH2
        >>> data = PH2(root="ph2")
        >>> data.class_names
        ('background', 'lesion')
    """

    info = DataInfo(
        title="PH2",
        task="skin lesions, dermoscopy",
        cases="200",
        size="about 765 x 574",
        spacing="-",
        licence="research and education",
        citation="Mendonça et al., EMBC 2013",
        source="https://www.fc.up.pt/addi/ph2%20database.html",
        layout="PH2Dataset/PH2 Dataset images/<case>/<case>_{Dermoscopic_Image,lesion}/*.bmp",
        paper="stand-in",
    )
    folder = "ph2"
    class_names = ("background", "lesion")

    def find_cases(self) -> list[Case]:
        """A case for each folder."""
        cases = []
        for folder in sorted(
            path for path in self.subfolder("PH2Dataset/PH2 Dataset images").iterdir() if path.is_dir()
        ):
            name = folder.name
            image = folder / f"{name}_Dermoscopic_Image" / f"{name}.bmp"
            mask = folder / f"{name}_lesion" / f"{name}_lesion.bmp"
            for path in (image, mask):
                if not path.exists():
                    raise DataError(f"{path}: does not exist. Unpack PH2 again, or remove {folder}.")
            cases.append(Case(name, (image,), (mask,)))
        return cases
