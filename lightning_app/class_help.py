"""What the help tells of our losses and networks: their names by family, a line each, plain formulas."""

import contextlib
import inspect
import io
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import losses
import models

FORMULA = re.compile(r":math:`([^`]*)`")
ROLE = re.compile(r":\w+:`~?([^`]*)`")
WORDS = {
    "gamma": "γ", "delta": "δ", "phi": "φ", "lambda": "λ", "alpha": "α", "beta": "β", "Sigma": "Σ", "sum": "Σ",
    "log": "log", "max": "max", "bar": "mean ",
    "odot": "*", "quad": " ", "le": "≤", "ge": "≥", "cdot": "·", "times": "x", "in": "∈",
    "rho": "ρ", "mu": "μ", "sigma": "σ", "epsilon": "ε", "exp": "exp", "min": "min", "pm": "±", "infty": "∞", "to": "→",
}  # fmt: skip


def choices() -> dict[str, dict[str, list[str]]]:
    """Losses and networks by family."""
    return {"losses": by_family(losses), "networks": {"": network_names()}}


def room_help(room: str) -> str:
    """Our losses or networks, each in a line.

    Args:
        room: `losses` or `networks`.
    """
    package = losses if room == "losses" else models
    families = choices()[room]
    lines = []
    for family, names in families.items():
        lines += ["", family] if family else []
        for name in names:
            text = plain((getattr(package, name).__doc__ or "").strip().partition("\n\n")[0])
            lines.append(f"  {name:<36} {' '.join(text.split())}")
    option = "--model.loss" if room == "losses" else "--model.net"
    example = f"{package.__name__}.{names[0]}"
    return "\n".join([*lines, "", f"Its options: python -m lightning_app fit {option}.help {example}", ""]).lstrip("\n")


def by_family(package: ModuleType) -> dict[str, list[str]]:
    """The losses by the file of their family, named by the file's first words."""
    families: dict[str, list[str]] = {}
    for name in package.__all__:
        kind = getattr(package, name)
        if inspect.isclass(kind) and not inspect.isabstract(kind) and name != "OverlapLoss":
            first = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()[0]
            families.setdefault(re.split(r"[:.;]", first)[0], []).append(name)
    return families


def network_names() -> list[str]:
    """Names of the networks."""
    kinds = ((name, getattr(models, name)) for name in models.__all__)
    return [n for n, kind in kinds if inspect.isclass(kind) and issubclass(kind, models.Network) and n != "Network"]


def plain(text: str) -> str:
    """Formulas and names of reStructuredText as a terminal can show them."""
    text = FORMULA.sub(lambda found: _formula(" ".join(found[1].split())), text)
    return ROLE.sub(r"\1", text).replace("``", "")


def _formula(text: str) -> str:
    text = re.sub(r"\\(?:mathrm|text|mathbf|operatorname)\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1) / (\2)", text)
    text = re.sub(r"\\[,;!: ]|\\(?:left|right)\b", " ", text)
    text = re.sub(r"\\([A-Za-z]+)", lambda found: WORDS.get(found[1], found[1]), text)
    return " ".join(re.sub(r"\{([^{}]*)\}", r"(\1)", text).replace("\\", "").split())


@contextlib.contextmanager
def plain_output(args: list[str]) -> Iterator[None]:
    """Show the help of a class without raw formulas, where the arguments ask for one."""
    if not any(arg.partition("=")[0].endswith(".help") for arg in args):
        yield
        return
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            yield
    finally:
        sys.stdout.write(plain(out.getvalue()))
