"""The page: sections of tables and pictures in one HTML file that needs nothing else."""

import base64
import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

from lightning_app.files import write_text
from lightning_app.report.compact_svg import svg_uri
from lightning_app.report.tables import Table


@dataclass(frozen=True)
class Picture:
    """A picture with its words.

    Args:
        title: Names it.
        caption: What it shows and how to read it.
        alt: What a reader who cannot see it should know.
        data: The file's bytes.
        kind: Media type.
        width: Width on the screen in CSS pixels.
        owners: Whose marks it shows: methods, or `owner_of` methods and data sets; the marks of the i-th lie in groups
            with ids `owner-<i>-<n>`, where they can be told apart.
    """

    title: str
    caption: str
    alt: str
    data: bytes
    kind: str = "image/svg+xml"
    width: int = 560
    owners: Sequence[str] = ()

    def to_html(self) -> str:
        """A figure with the picture inside the text of the page."""
        drawn = self.kind == "image/svg+xml"
        source = svg_uri(self.data) if drawn else data_uri(self.data, self.kind)
        return (
            f'<figure{owners_attribute(self.owners)}><img src="{source}" width="{self.width}" '
            f'alt="{html.escape(self.alt)}" loading="lazy"><figcaption><strong>{html.escape(self.title)}.</strong> '
            f"{html.escape(self.caption)}</figcaption></figure>"
        )


@dataclass
class Section:
    """A part of the page.

    Args:
        name: Anchor.
        title: Heading.
        text: A sentence or two of introduction.
        tables: Tables, each with its filter.
        pictures: Pictures.
        extra: Further HTML, such as folded details.
        first: HTML before the pictures.
    """

    name: str
    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    extra: Sequence[str] = field(default_factory=list)
    first: str = ""

    def __bool__(self) -> bool:
        return bool(self.tables or self.pictures or self.extra)

    def to_html(self) -> str:
        """The section with heading and content."""
        intro = f"<p>{html.escape(self.text)}</p>" if self.text else ""
        tables = "".join(_tools(table) + table.to_html() for table in self.tables)
        pictures = "".join(picture.to_html() for picture in self.pictures)
        pictures = f'<div class="figures">{pictures}</div>' if pictures else ""
        body = "\n".join([intro, tables, self.first, pictures, *self.extra])
        heading = f'<h2 id="{self.name}-title">{html.escape(self.title)}</h2>'
        return f'<section id="{self.name}" aria-labelledby="{self.name}-title">{heading}{body}</section>'


def _tools(table: Table) -> str:
    """Filter boxes above a table: words, and a choice where there is a column of data sets."""
    choice = ""
    if "Data" in table.columns:
        column = list(table.columns).index("Data")
        names = dict.fromkeys(row[column] for row in table.rows)
        options = "".join(f'<option value="{html.escape(name)}">{html.escape(name)}</option>' for name in names)
        choice = (
            f'<label>Data set<select data-column="{column}"><option value="">all</option>{options}</select></label>'
            if len(names) > 1
            else ""
        )
    return (
        f'<div class="tools" data-table="{table.name}"><label>Filter rows'
        f'<input type="search" placeholder="words that must occur"></label>{choice}<output></output></div>'
    )


def owner_of(method: str, data: str) -> str:
    """A method on one data set, as the rows of the first table name it to the page's script."""
    return f"{method}\t{data}"


def owners_attribute(owners: Sequence[str]) -> str:
    """Says to the page's script whose an element is: it goes when the first table shows none of them."""
    names = html.escape("\n".join(owners))
    return f' data-owners="{names}"' if owners else ""


def folded(title: str, content: str, printed: bool = False, owners: Sequence[str] = ()) -> str:
    """Details that open on demand (and, if asked, in print)."""
    kind = ' class="print"' if printed else ""
    return f"<details{kind}{owners_attribute(owners)}><summary>{html.escape(title)}</summary>{content}</details>"


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def render(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """The whole page.

    Args:
        title: Title, plain text.
        lead: What was compared, plain text.
        sections: Parts; empty ones are left out.
        footer: How the page was made, plain text.

    Returns:
        HTML that refers to no other file and no address.
    """
    shown = [section for section in sections if section]
    nav = "".join(f'<li><a href="#{part.name}">{html.escape(part.title)}</a></li>' for part in shown)
    status = '<p id="status" role="status" class="skip"></p>'
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        lead=html.escape(lead),
        css=_file("page.css"),
        js=_file("page.js"),
        chart=_file("chart.js"),
        nav=nav,
        sections=status + "\n".join(part.to_html() for part in shown),
        footer=html.escape(footer),
    )


def write_pictures(sections: Sequence[Section], folder: Path) -> list[Path]:
    """Write the pictures of the sections to files named by their titles, each whole or not at all.

    Args:
        sections: Parts of the page.
        folder: Where to; made if it is not there.

    Returns:
        The files.
    """
    paths = []
    for section in sections:
        for picture in section.pictures:
            path = folder / f"{file_name(picture.title)}.svg"
            write_text(path, picture.data.decode("utf-8"))
            paths.append(path)
    return paths


def file_name(title: str) -> str:
    """A title as part of a file name: its words in ASCII, joined by underscores; gamma for γ."""
    spelled = (c if c.isascii() else unicodedata.name(c, "").rpartition(" ")[2] for c in title.replace("++", "pp"))
    return "_".join(re.findall(r"[a-z0-9]+", "".join(spelled).lower()))


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
