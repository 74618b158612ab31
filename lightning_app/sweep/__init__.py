"""Sweeps without a server: `python -m lightning_app sweep`."""
