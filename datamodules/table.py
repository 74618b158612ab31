"""The table of all data sets, made from the classes."""

import inspect

import datamodules

from .base import SegmentationData

_HEAD = ("datamodule", "what", "dim", "classes", "cases", "size", "spacing", "licence", "paper", "how to get it")


def all_sets() -> list[type[SegmentationData]]:
    """Every data set class, by name."""
    members = (getattr(datamodules, name) for name in datamodules.__all__)
    classes = [m for m in members if inspect.isclass(m) and issubclass(m, SegmentationData)]
    return sorted((cls for cls in classes if not inspect.isabstract(cls)), key=lambda cls: cls.__name__.lower())


def classes_of(cls: type[SegmentationData]) -> str:
    """Names of the classes, or in words where they are not fixed."""
    return cls.info.classes or ", ".join(cls.class_names)


def dimensions_of(cls: type[SegmentationData]) -> str:
    """2D, 3D, or both where slices or the arguments decide."""
    return cls.info.dimensions or (f"{cls.spatial_dims}D" if cls.spatial_dims == 2 else "3D, slices")


def access_of(cls: type[SegmentationData]) -> str:
    """Where to get it, and whether `--data.download true` does it."""
    return f"`--data.download true`, {cls.info.source}" if cls.archives or cls.info.downloadable else cls.info.source


def markdown_table() -> str:
    """Markdown table of all data sets."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    for cls in all_sets():
        info = cls.info
        facts = (info.task, dimensions_of(cls), classes_of(cls), info.cases, info.size, info.spacing, info.licence)
        rows.append((f"`{cls.__name__}`", *facts, info.paper or "-", access_of(cls)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
