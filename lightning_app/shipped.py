"""The recipes and sweep files that come with the program, found by name from any folder."""

import difflib
from pathlib import Path

HOME = Path(__file__).parents[1]
CONFIGS = HOME / "lightning_app" / "configs"
SWEEPS = HOME / "sweeps"


def find_config(given: str) -> str:
    """The configuration file that `--config` names: `hippocampus`, `data/drive`, a path here, or one as in the docs."""
    if any(mark in given for mark in "{:\n"):
        return given  # the configuration itself, as text
    return str(_find(given, CONFIGS, "--config"))


def find_sweep(given: str) -> Path:
    """The sweep file of a name such as `bench_a_phantom`, a path here, or one as in the docs."""
    return _find(given, SWEEPS, "sweep")


def _find(given: str, folder: Path, option: str) -> Path:
    """The file at a path, else the shipped one of that name.

    Raises:
        FileNotFoundError: If there is neither; the message proposes shipped ones of a like name.
    """
    places = [Path(given), HOME / given, folder / given, folder / f"{given}.yaml"]
    for place in places:
        if place.is_file():
            return place
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
    near = difflib.get_close_matches(Path(given).stem, names, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}?" if near else f"these come with the program: {', '.join(names)}"
    raise FileNotFoundError(f"{option} {given}: no such file; {meant}")


def header(path: Path) -> str:
    """The text of the comment at the head of a YAML file, its paragraphs parted by empty lines."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.strip("# "))
    return "\n".join(lines).strip()
