"""The program: command line, training module, callbacks, sweeps and reports."""

import os

__version__ = "0.1.0"

# Its import would ask the network for a newer version: six seconds without a connection.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
