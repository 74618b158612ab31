"""Data sets, each as a LightningDataModule, with readers, transforms, splits and writers."""

from datamodules.acdc import ACDC
from datamodules.axon_sem import AxonSEM
from datamodules.base import SegmentationData
from datamodules.brats import BraTS
from datamodules.bus2017 import BUS2017
from datamodules.busi import BUSI
from datamodules.cvc_clinicdb import CVCClinicDB
from datamodules.decathlon import Decathlon
from datamodules.drive import DRIVE
from datamodules.dsb2018 import DSB2018
from datamodules.errors import DataError
from datamodules.flare21 import FLARE21
from datamodules.geometry import Geometry
from datamodules.image_folder import ImageFolder
from datamodules.images import ImageData
from datamodules.isbi2012 import ISBI2012
from datamodules.isic2016 import ISIC2016
from datamodules.isic2018 import ISIC2018
from datamodules.kits19 import KiTS19
from datamodules.mrbrains18 import MRBrainS18
from datamodules.nnunet_raw import NNUNetRaw
from datamodules.patches import ContainsForeground, Foreground, Uniform
from datamodules.ph2 import PH2
from datamodules.phantom import Phantom
from datamodules.promise12 import PROMISE12
from datamodules.transforms import Augment2D, Augment3D
from datamodules.volumes import VolumeData
from datamodules.wmh2017 import WMH2017
from datamodules.writers import write_map, write_mask, write_probabilities

__all__ = [
    "ACDC",
    "BUS2017",
    "BUSI",
    "DRIVE",
    "DSB2018",
    "FLARE21",
    "ISBI2012",
    "ISIC2016",
    "ISIC2018",
    "PH2",
    "PROMISE12",
    "WMH2017",
    "Augment2D",
    "Augment3D",
    "AxonSEM",
    "BraTS",
    "CVCClinicDB",
    "ContainsForeground",
    "DataError",
    "Decathlon",
    "Foreground",
    "Geometry",
    "ImageData",
    "ImageFolder",
    "KiTS19",
    "MRBrainS18",
    "NNUNetRaw",
    "Phantom",
    "SegmentationData",
    "Uniform",
    "VolumeData",
    "write_map",
    "write_mask",
    "write_probabilities",
]
