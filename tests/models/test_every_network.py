"""No network is left out: of the shared contract, of the documentation."""

import inspect
import re
from pathlib import Path

import models

HERE = Path(__file__).parent
NETWORKS = {
    name
    for name in models.__all__
    if inspect.isclass(kind := getattr(models, name))
    and issubclass(kind, models.Network)
    and kind is not models.Network
}


def test_every_network_holds_the_contract():
    named = {n for path in HERE.glob("test_*.py") for n in re.findall(r"^    network = (\w+)", path.read_text(), re.M)}
    assert named == NETWORKS


def test_every_network_stands_in_the_table_of_the_documentation():
    page = (HERE.parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page.partition("## Networks")[2].partition("\n## ")[0], re.M)) == NETWORKS
