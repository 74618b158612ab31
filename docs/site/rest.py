"""Docstrings as the reference shows them: their roles, formulas and examples become Markdown."""

import re
import textwrap
from typing import Any

import griffe

BLOCK = re.compile(
    r"^(?P<indent> *)\.\. math::[ \t]*(?P<inline>.*)\n(?P<body>(?:[ \t]*\n|(?P=indent) +.*(?:\n|$))*)", re.M
)
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?(?:[\w.]+\.)?(\w+)`")
MATH = re.compile(r":math:`([^`]+)`", re.S)
EXAMPLE = re.compile(r"^( *)Example:[ \t]*$", re.M)  # code to the parser in the plural alone; else quotes within quotes


def to_markdown(text: str) -> str:
    """A docstring's text with `$formulas$`, plain code names and examples that are shown as code."""

    def block(found: re.Match[str]) -> str:
        formula = "\n".join([found["inline"], textwrap.dedent(found["body"])]).strip()
        parts = re.split(r"\n\s*\n", formula)
        shown = [f"$$\n{' '.join(part.split())}\n$$" for part in parts if part.strip()]
        return "\n" + textwrap.indent("\n\n".join(shown), found["indent"]) + "\n\n"

    text = EXAMPLE.sub(r"\1Examples:", BLOCK.sub(block, text))
    return ROLE.sub(r"`\1`", MATH.sub(lambda found: f"${' '.join(found[1].split())}$", text))


class RestDocstrings(griffe.Extension):
    """Converts every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Convert one."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)
