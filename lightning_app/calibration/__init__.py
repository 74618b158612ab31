"""What `calibrate` keeps in a checkpoint and what applies it: calibrators by name, cuts. Knows nothing of training."""
