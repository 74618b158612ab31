"""Predictions made elsewhere: probability maps in folders are judged, calibrated and written back as they came."""
