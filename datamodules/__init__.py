"""Data sets, each as a LightningDataModule, with readers, transforms, splits and writers."""

from datamodules.decathlon import Decathlon
from datamodules.drive import DRIVE
from datamodules.dsb2018 import DSB2018
from datamodules.errors import DataError
from datamodules.geometry import Geometry
from datamodules.images import ImageData
from datamodules.patches import Foreground, Uniform
from datamodules.phantom import Phantom
from datamodules.transforms import Augment2D, Augment3D
from datamodules.volumes import VolumeData
from datamodules.writers import write_mask, write_probabilities

__all__ = [
    "DRIVE",
    "DSB2018",
    "Augment2D",
    "Augment3D",
    "DataError",
    "Decathlon",
    "Foreground",
    "Geometry",
    "ImageData",
    "Phantom",
    "Uniform",
    "VolumeData",
    "write_mask",
    "write_probabilities",
]
