"""Reading run folders: settings, results by case, reliability sums, pictures."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lightning_app.errors import UserError
from lightning_app.files import read_csv, read_yaml
from lightning_app.names import loss_name
from lightning_app.training.run_folder import STAGES, RunFolder

if TYPE_CHECKING:
    from metrics import Bins, CaseSums

TALLIES = "case_tallies."
SMALL = 2**16  # bytes; pooled bins, edges and names are
POOLED = "_pooled"  # metrics.catalogue.POOLED; reading needs no torch
NOT_SETTINGS = (
    "seed_everything",
    "checkpoint",
    "trainer.logger",
    "trainer.callbacks",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.accelerator",
    "runs_dir",
    "test_after",
    "surface",
    "objects",
    "object_iou",
    "object_connectivity",
    "score_workers",
    "data.init_args.root",
    "data.init_args.num_workers",
    "data.init_args.seed",
    "data.init_args.fold",
    "model.class_names",
    "model.num_classes",
)


@dataclass(frozen=True)
class Case:
    """Scores of one case.

    Args:
        name: The case.
        scores: (metric, class) -> value; class `all` is the case as a whole; a missing value is NaN.
    """

    name: str
    scores: Mapping[tuple[str, str], float]


class Run:
    """One run folder, read when asked.

    Args:
        path: The folder; it holds a `config.yaml`.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = RunFolder(Path(path))
        self.config: dict[str, Any] = read_yaml(self.folder.config)
        self.state = self.folder.read_state()
        self.settings = _settings(self.config)
        self.part = ""  # a number, where runs on this data set see other images
        self._reliability: dict[str, Reliability] = {}

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def command(self) -> str:
        """The command that made the run."""
        path = self.folder.path / "command.txt"
        return path.read_text(encoding="utf-8").strip() if path.is_file() else ""

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config.get("seed_everything") or 0)

    @property
    def status(self) -> str:
        """`finished`, `failed`, `running`, ..."""
        return str(self.state.get("status", "unknown"))

    @property
    def data(self) -> str:
        """Name of the data set, with the task where one module serves several, and the part."""
        data = self.config["data"]
        task = str((data.get("init_args") or {}).get("task") or "")
        name = task.partition("_")[2] or task or data["class_path"].rpartition(".")[2]
        name += " regions" if (data.get("init_args") or {}).get("regions") else ""
        return f"{name} ({self.part})" if self.part else name

    @property
    def loss(self) -> str:
        """Short name of the loss, without its arguments."""
        return loss_name(self.config["model"]["loss"])

    @property
    def loss_arguments(self) -> dict[str, Any]:
        """The arguments of the loss."""
        return self.config["model"]["loss"].get("init_args") or {}

    def stages(self) -> list[str]:
        """Which of `val` and `test` were evaluated."""
        return [stage for stage in STAGES if (self.folder.stage(stage) / "per_case.csv").is_file()]

    def cases(self, stage: str) -> list[Case]:
        """Scores of every case of a stage.

        Raises:
            ValueError: If they are of before the catalogue.
        """
        scores: dict[str, dict[tuple[str, str], float]] = {}
        rows = read_csv(self.folder.stage(stage) / "per_case.csv")
        self.folder.refuse_old_names(stage, rows[0] if rows else ())
        for row in rows:
            own = scores.setdefault(row["case"], {})
            for metric, text in row.items():
                if metric not in ("case", "class"):
                    own[metric, row["class"]] = float(text) if text else np.nan
        return [Case(name, scores[name]) for name in sorted(scores)]

    def pooled(self, stage: str) -> dict[tuple[str, str], tuple[float, float, float]]:
        """(key, class) -> value, low and high of the numbers of all voxels together."""
        rows = [row for row in read_csv(self.folder.stage(stage) / "summary.csv") if row["metric"].endswith(POOLED)]
        found = {}
        for row in rows:
            mean, low, high = (float(row[part] or "nan") for part in ("mean", "low", "high"))
            found[row["metric"], row["class"]] = (mean, low, high)
        return found

    def classes(self, stage: str) -> list[str]:
        """Foreground class names, in their order."""
        rows = read_csv(self.folder.stage(stage) / "per_case.csv")
        return [name for name in dict.fromkeys(row["class"] for row in rows) if name != "all"]

    def reliability(self, stage: str) -> "Reliability":
        """Reliability sums of a stage; its arrays are read when asked for."""
        path = self.folder.stage(stage) / "bins.npz"
        if stage not in self._reliability:
            arrays = StoredArrays(path) if path.is_file() else {}
            self.folder.refuse_old_names(stage, arrays)
            self._reliability[stage] = Reliability(arrays)
        return self._reliability[stage]

    @cached_property
    def curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Metric name -> (steps, values) as logged."""
        rows = read_csv(self.folder.curves, appended=True)
        names = [name for name in (rows[0] if rows else {}) if name not in ("step", "epoch")]
        curves = {}
        for name in names:
            points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
            if points:
                steps, values = zip(*points, strict=True)
                curves[name] = (np.array(steps), np.array(values))
        return curves

    def pictures(self, stage: str) -> dict[str, Path]:
        """Rank (`worst`, `median`, `best`) -> picture of that case."""
        folder = self.folder.stage(stage) / "figures"
        return {rank: path for rank in ("worst", "median", "best") if (path := folder / f"case_{rank}.png").is_file()}

    def slices(self, stage: str) -> dict[str, Path]:
        """Rank -> arrays of that case's slices, for volumes."""
        folder = self.folder.stage(stage) / "figures"
        return {rank: path for rank in ("worst", "median", "best") if (path := folder / f"case_{rank}.npz").is_file()}


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of an `.npz` file, each read when asked for: of a hundred runs a report needs a few at a time.

    Args:
        path: The file; small arrays are kept once read, those of single cases are not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._small: dict[str, np.ndarray] = {}
        with path.open("rb") as file, np.load(file) as arrays:
            self._names = tuple(arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._small:
            with self.path.open("rb") as file, np.load(file) as arrays:
                array: np.ndarray = arrays[name]
            if array.nbytes > SMALL:
                return array
            self._small[name] = array
        return self._small[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True)
class Reliability:
    """The arrays of a `bins.npz`.

    Args:
        arrays: Array name -> array.
    """

    arrays: Mapping[str, np.ndarray]

    def names(self) -> list[str]:
        """The `<region>.<view>` that are there."""
        return [name.removesuffix(".count") for name in self.arrays if name.endswith(".count")]

    def pooled(self, name: str) -> "Bins":
        """Bins (C, B) over all cases: of the whole image on `metrics.axis`, else 300."""
        return self._bins(name, "")

    def by_case(self, name: str) -> "dict[str, Bins]":
        """Bins (C, 300) of each case, by its name."""
        import metrics

        cases = map(str, self.arrays["cases"])
        return {case: metrics.Bins(*fields) for case, *fields in zip(cases, *self._bins(name, "case_"), strict=True)}

    @property
    def keeps_sums(self) -> bool:
        """Whether the sums of every case are there, from which pooled numbers of several runs follow."""
        return "case_confusion" in self.arrays

    def only(self, names: Collection[str]) -> "Reliability":
        """These arrays alone."""
        return Reliability({name: self.arrays[name] for name in names})

    def sums(self) -> "dict[str, CaseSums]":
        """Case -> the sums of its voxels (300 bins), without what does not add up; empty where they are not kept."""
        import torch

        import metrics

        if not self.keeps_sums:
            return {}
        confusion, nll = (torch.from_numpy(self.arrays[f"case_{name}"]) for name in ("confusion", "nll"))
        kept = [name for name in self.arrays if name.startswith(TALLIES)]
        tallies = {name.removeprefix(TALLIES): torch.from_numpy(self.arrays[name]) for name in kept}
        channels = {name: self._bins(name, "case_") for name in self.names()}
        stacked = metrics.sums.from_channels(channels, confusion, nll, tallies)
        return dict(zip(map(str, self.arrays["cases"]), metrics.sums.unstack(stacked), strict=True))

    def odds(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges (B + 1,) of the fine axis; by case and class the voxels of p_k, and those of class k, (n, 2, K, B)."""
        return self.arrays["axis_edges"], self.arrays["all.classwise.case_odds"]

    def _bins(self, name: str, prefix: str) -> "Bins":
        import torch

        import metrics

        fields = (self.arrays[f"{name}.{prefix}{field}"] for field in metrics.Bins._fields)
        return metrics.Bins(*(torch.from_numpy(field) for field in fields))


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """All runs in or under the given folders, ordered by folder.

    Raises:
        FileNotFoundError: If a folder is not there or holds no run that was evaluated.
    """
    found: dict[Path, Run] = {}
    for given in map(Path, paths):
        if not given.is_dir():
            raise FileNotFoundError(f"{given}: no such folder; name run folders, or a folder of run folders")
        here = sorted({path.parent for pattern in ("config.yaml", "*/config.yaml") for path in given.glob(pattern)})
        runs = [run for run in (_read(folder, len(here)) for folder in here) if run is not None and run.stages()]
        if not runs:
            raise FileNotFoundError(f"{given}: no run in it was evaluated (no val/per_case.csv or test/per_case.csv)")
        found |= {run.folder.path.resolve(): run for run in runs}
    return list(found.values())


def _read(folder: Path, count: int) -> Run | None:
    """The run of a folder, read whole; of many a damaged one is left out, and file and reason are told.

    Raises:
        UserError: If it is damaged and the only one.
    """
    reading = [folder / "config.yaml"]
    try:
        run = Run(folder)
        for part in _parts(run):
            reading.append(part)
            _try(run, part)
    except Exception as error:  # whatever a damaged file makes of yaml, numpy, zipfile and our own reading
        why = " ".join(str(error).split())[:160] or type(error).__name__
        told = why if why.startswith(str(reading[-1])) else f"{reading[-1]}: {why}"
        if count == 1 or "older version" in told:
            raise UserError(told) from error
        sys.stderr.write(f"report: left out {folder.name}: {told}\n")
        return None
    return run


def _parts(run: Run) -> list[Path]:
    """The files that a report takes from a run."""
    files = [run.folder.curves, run.folder.path / "command.txt"]
    for stage in run.stages():
        names = ("per_case.csv", "summary.csv", "bins.npz")
        files += [run.folder.stage(stage) / name for name in names]
        files += [*run.pictures(stage).values(), *run.slices(stage).values()]
    return files


def _try(run: Run, part: Path) -> None:
    """Read a file as the report will."""
    stage = next((stage for stage in STAGES if run.folder.stage(stage) in part.parents), "")
    if part.name == "metrics.csv":
        _ = run.curves
    elif part.name == "command.txt":
        _ = (run.command, run.data, run.loss, run.loss_arguments, run.seed)
    elif part.name == "per_case.csv":
        if not run.cases(stage):
            raise UserError("no case in it")
    elif part.name == "summary.csv":
        run.pooled(stage)
    elif part.name == "bins.npz":
        _try_bins(run, stage)
    elif part.suffix == ".npz":
        with part.open("rb") as file, np.load(file) as arrays:
            dict(arrays)
    else:
        with Image.open(part) as picture:
            picture.verify()


def _try_bins(run: Run, stage: str) -> None:
    found = Reliability(dict(run.reliability(stage).arrays))
    if found.arrays and {case.name for case in run.cases(stage)} != set(map(str, found.arrays["cases"])):
        raise UserError("its cases are not those of per_case.csv")
    for name in found.names():
        found.pooled(name)
        found.by_case(name)
    found.sums()


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration as dotted keys, less what says nothing about the method; loss and network are units."""
    flat = _flatten(
        {**config, "model": {key: value for key, value in config["model"].items() if key not in ("loss", "net")}}
    )
    kept = {key: value for key, value in flat.items() if not key.startswith(NOT_SETTINGS)}
    units = {f"model.{part}": json.dumps(config["model"][part], sort_keys=True) for part in ("loss", "net")}
    return {**units, **kept}


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict) and tree:
        parts = (_flatten(value, f"{prefix}{key}.") for key, value in tree.items())
        return {key: value for part in parts for key, value in part.items()}
    return {prefix.rstrip("."): json.dumps(tree) if isinstance(tree, list | dict) else tree}
