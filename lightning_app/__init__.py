"""The program: command line, training module, callbacks, sweeps and reports."""

import os

from calibrated_segmentation import claim

__version__ = "0.1.0"

claim()  # a folder `models` or `losses` in the working directory is not ours

# Its import would ask the network for a newer version: six seconds without a connection.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
