import datamodules as datamodules
import losses as losses
import metrics as metrics
import models as models

from .rooms import claim as claim
