"""The report: one self-contained HTML page and tables that compare run folders."""
