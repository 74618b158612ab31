"""The report: one self-contained HTML page and tables that compare run folders."""

from lightning_app.report.command import main

__all__ = ["main"]
