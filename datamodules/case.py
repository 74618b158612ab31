"""What a data set says of itself and of one of its cases."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One image or volume with everything that belongs to it on disk.

    Args:
        name: Unique name within the data set; it appears in tables, split files and predictions.
        images: The file of each channel, or one file that holds all channels.
        masks: Mask files; how several are combined is the data set's `MaskCoding`.
        group: What must stay in one subset (patient, video sequence); the case's own name if empty.
        subset: The owner's own subset ("train", "test") where there is one.
        valid: Mask of the field of view, outside of which the reference is ignored.
        tissue: For volumes, mask of the tissue over which intensities are normalised.
        raters: Number of mask files of each rater where there are several; then the label is their mean.
        page: Number of the page in multi-page files.
        extra: Whatever else a data set needs to make the case.
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    group: str = ""
    subset: str = ""
    valid: Path | None = None
    tissue: Path | None = None
    raters: tuple[int, ...] = ()
    page: int | None = None
    extra: Any = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of this case."""
        return (*self.images, *self.masks, *(path for path in (self.valid, self.tissue) if path))

    @property
    def key(self) -> tuple[str, ...]:
        """What is kept of a case is kept by: new images may bear a known name."""
        return (self.name, str(self.page), *map(str, self.files))


@dataclass(frozen=True)
class DataInfo:
    """Facts of a data set, shown in the table of `docs/data.md` and in error messages.

    Args:
        title: Full name.
        task: What is segmented, in which modality.
        cases: Number of labelled cases in the full set, in words where it varies.
        size: Image or volume size.
        spacing: Pixel or voxel spacing.
        licence: Licence, or terms of use.
        citation: Short reference.
        source: Where to get it.
        layout: The official layout expected under the root folder.
        paper: The paper of the project that uses it.
        classes: Classes in words, where the class does not fix them.
        dimensions: 2D or 3D in words, where the class does not fix them.
        downloadable: Served openly for some arguments of the class.
    """

    title: str
    task: str
    cases: str
    size: str
    spacing: str
    licence: str
    citation: str
    source: str
    layout: str
    paper: str = ""
    classes: str = ""
    dimensions: str = ""
    downloadable: bool = False
