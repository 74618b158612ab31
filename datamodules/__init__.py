"""Data sets, each as a LightningDataModule, with readers, transforms, splits and writers."""

from .acdc import ACDC
from .axon_sem import AxonSEM
from .base import SegmentationData
from .brats import BraTS
from .bus2017 import BUS2017
from .busi import BUSI
from .corruption import Corruption
from .cvc_clinicdb import CVCClinicDB
from .decathlon import Decathlon
from .drive import DRIVE
from .dsb2018 import DSB2018
from .errors import DataError
from .flare21 import FLARE21
from .geometry import Geometry
from .image_folder import ImageFolder
from .images import ImageData
from .isbi2012 import ISBI2012
from .isic2016 import ISIC2016
from .isic2018 import ISIC2018
from .kits19 import KiTS19
from .kvasir_seg import KvasirSEG
from .mrbrains18 import MRBrainS18
from .nnunet_raw import NNUNetRaw
from .patches import ContainsForeground, Foreground, Uniform
from .ph2 import PH2
from .phantom import Phantom
from .promise12 import PROMISE12
from .stare import STARE
from .transforms import Augment2D, Augment3D
from .volume_folder import VolumeFolder
from .volumes import VolumeData
from .wmh2017 import WMH2017
from .writers import is_series, is_written, write_map, write_mask, write_probabilities, write_segmentation

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
    "STARE",
    "WMH2017",
    "Augment2D",
    "Augment3D",
    "AxonSEM",
    "BraTS",
    "CVCClinicDB",
    "ContainsForeground",
    "Corruption",
    "DataError",
    "Decathlon",
    "Foreground",
    "Geometry",
    "ImageData",
    "ImageFolder",
    "KiTS19",
    "KvasirSEG",
    "MRBrainS18",
    "NNUNetRaw",
    "Phantom",
    "SegmentationData",
    "Uniform",
    "VolumeData",
    "VolumeFolder",
    "is_series",
    "is_written",
    "write_map",
    "write_mask",
    "write_probabilities",
    "write_segmentation",
]
