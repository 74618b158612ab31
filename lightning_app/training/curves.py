"""A Lightning logger that writes the run's curves to one CSV file and survives a kill and a resume."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from lightning_app.files import append_csv, read_csv, write_csv

KEYS = ("step", "epoch")


class CurvesLogger(Logger):
    """Write every logged scalar to `metrics.csv`: a row a logged step, a column a metric, empty where not logged.

    Rows are appended as they come; only a new metric name rewrites the file.

    Args:
        path: The CSV file. Rows that it holds already are kept, up to the step given to `forget_from`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows = read_csv(path, appended=True)
        self.columns = list(self.rows[0]) if self.rows else list(KEYS)

    @property
    def name(self) -> str:
        """The logger's name in Lightning's bookkeeping."""
        return "curves"

    @property
    def version(self) -> str:
        """One file a run, so there is one version."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> "CurvesLogger":
        """The object that is logged to."""
        return self

    def forget_from(self, step: int) -> None:
        """Drop rows of `step` and later: a resumed run writes them again."""
        self.rows = [row for row in self.rows if int(row["step"]) < step]
        self._rewrite()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row, or fill in the last one where it is of the same step."""
        values = {key: f"{value:.9g}" for key, value in metrics.items() if key != "epoch"}
        row = {"step": str(step or 0), "epoch": str(int(metrics.get("epoch", 0))), **values}
        new = [key for key in row if key not in self.columns]
        self.columns += new
        self.rows.append(row)
        if new or not self.path.is_file():
            self._rewrite()
        else:
            append_csv(self.path, row, self.columns)

    def _rewrite(self) -> None:
        write_csv(self.path, self.rows, self.columns)
