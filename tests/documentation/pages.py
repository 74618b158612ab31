"""What the documentation tells its reader to type: blocks of code, commands in running text and in headers of files."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lightning_app.cli import OTHER_VERBS, TRAINING_VERBS
from lightning_app.shipped import CONFIGS, HOME, SWEEPS, header

PAGES = [
    *(HOME / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((HOME / "docs").glob("*.md")),
    *sorted((HOME / "docs" / "results").glob("*.md")),
]
TUTORIALS = sorted((HOME / "docs" / "tutorials").glob("*.md"))
HEADED = sorted(path for folder in (SWEEPS, CONFIGS) for path in folder.rglob("*.yaml"))
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.M | re.S)
KINDS = {"bash", "python", "text"}  # of blocks; what a text shows is asked of tutorials alone
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
VERBS = "|".join([*TRAINING_VERBS, *OTHER_VERBS])
PROGRAM = re.compile(r"(export \w+=\$\(|python3? |calseg |pip |pytest |wandb |torchrun |nnUNetv2_\w+ )")
VERB = re.compile(rf"^(?=({VERBS}) .*--)")
IN_HEADER = re.compile(r"(`?)((?:python -m|wandb sweep|wandb agent) [^`\n]*?)(?=`|, then|$)", re.M)
SHELL = """
command_not_found_handle() { printf '%s\\0' "$@" '' >> "$COMMANDS"; }
source() { :; }
exec() { "$@"; }
"""


@dataclass(frozen=True)
class Command:
    """Words that a shell hands to a program, where they stand, and whether as a whole command or in a sentence."""

    page: str
    words: tuple[str, ...]
    whole: bool = True

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def blocks(path: Path) -> list[tuple[str, str]]:
    """Kind and text of a page's fenced blocks."""
    found = FENCED.findall(path.read_text(encoding="utf-8"))
    return [(kind, re.sub(rf"^{indent}", "", text, flags=re.M)) for indent, kind, text in found]


def prose(path: Path) -> str:
    """A page without its blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def in_shell(text: str) -> list[tuple[str, ...]]:
    """The commands that a real shell would start: it reads quotes, variables, loops; no program is in its reach."""
    with tempfile.TemporaryDirectory() as folder:
        calls = Path(folder) / "commands"
        calls.touch()
        given = {"PATH": folder, "HOME": folder, "COMMANDS": str(calls), "SEGMENTATION_DATA": "data"}
        bash = [str(shutil.which("bash")), "-uc", SHELL + text]
        done = subprocess.run(bash, env=given, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        assert not done.stderr, f"{text}\n{done.stderr}"
        written = calls.read_text(encoding="utf-8").removesuffix("\0\0")
    return [tuple(each.split("\0")) for each in written.split("\0\0") if each]


def mentions(path: Path) -> list[str]:
    """Commands in a page's sentences and tables, where the program goes without saying before a verb."""
    found = (VERB.sub("python -m lightning_app ", " ".join(each.split()), 1) for each in INLINE.findall(prose(path)))
    return [text for text in found if PROGRAM.match(text)]


def commands(path: Path) -> list[Command]:
    """All commands of a page, or of the header of a YAML file."""
    page = path.relative_to(HOME).as_posix()
    if path in HEADED:
        found = IN_HEADER.findall(header(path))
        return [Command(page, words, not tick) for tick, text in found for words in in_shell(placed(text))]
    whole = [Command(page, words) for kind, text in blocks(path) if kind == "bash" for words in in_shell(text)]
    return whole + [Command(page, words, False) for text in mentions(path) for words in in_shell(placed(text))]


def placed(text: str) -> str:
    """A command in a sentence, `<what you like>` as one word of capitals, and nothing where it says `...`."""
    text = re.sub(r"<([\w ]+)>", lambda found: found[1].upper().replace(" ", "_"), text)
    return re.sub(r"(?<=\s)\.\.\.(?=\s|$)", "", text)


def environment(**more: str) -> dict[str, str]:
    """Of a process that runs this checkout's program from any folder."""
    return {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **more}
