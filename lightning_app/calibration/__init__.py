"""Calibration after training: the verb `calibrate` and what applies its result."""
