"""Drawings in few letters, the same to the eye."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

NAMESPACE = re.compile(r"\{[^}]*\}")
REFERENCE = re.compile(r"#([\w.-]+)")
FINE = re.compile(r"scale\([^)]*\)|-?\d+\.\d{3,}(?![\w-])")  # a scale multiplies large units
PART = re.compile(r"([A-Za-z])([^A-Za-z]*)")
FEW = 4  # marks for which a path does not pay
OUTLINE, WHOLE = "scale(0.015625)", re.compile(r"-?\d+")  # of a glyph, in 64ths of a hundredth of its size
GLYPH = "#DejaVuSans"
OWNER = "owner-"


def compact_svg(svg: str) -> str:
    """The same drawing in fewer letters.

    Two decimals of a point, glyphs on whole hundredths of their size and quarters within; a style that comes again is a
    class, a name that is referred to is short, marks in a row are one path that is drawn by them, and other names,
    metadata, comments and groups that only group are gone.

    Example:
        >>> compact_svg('<svg> <!-- a --> <g id="b"><path d="M 1.23456 2 L 3 4.0001 "/></g> </svg>')
        '<svg><path d="M1.23 2L3 4"/></svg>'
    """
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        for part in element.findall("{*}metadata"):
            element.remove(part)
        _tighten(element)
    _shorten_names(root)
    _share_styles(root)
    _ungroup(root)
    _join_marks(root)
    if "http://www.w3.org/2000/svg" in svg:
        root.set("xmlns", "http://www.w3.org/2000/svg")
    return ElementTree.tostring(root, encoding="unicode").replace(" />", "/>")


def svg_uri(data: bytes) -> str:
    """A drawing as an address for an attribute in double quotes: as text, a third less than in base 64."""
    text = compact_svg(data.decode("utf-8")).replace("%", "%25").replace("#", "%23").replace("&", "&amp;")
    return "data:image/svg+xml," + re.sub(r"\s+", " ", text).replace('"', "'")


def _tighten(element: Element) -> None:
    """No namespaces, spaces and digits that nobody sees."""
    element.tag = NAMESPACE.sub("", element.tag)
    element.text, element.tail = (element.text or "").strip() or None, None
    element.attrib = {NAMESPACE.sub("", name): FINE.sub(_rounded, text) for name, text in element.attrib.items()}
    own = element.attrib
    if own.get("transform") == OUTLINE:
        own |= {"d": WHOLE.sub(_sixteenth, own.get("d", "")), "transform": "scale(0.25)"}
    if "d" in own:
        own["d"] = _straight(re.sub(r"\s*([MLQCz])\s*", r"\1", own["d"]).strip())
    if "style" in own:
        own["style"] = re.sub(r"([:;]) ", r"\1", own["style"])
    moved = re.fullmatch(r"translate\((\S+)(?: 0)?\)", own.get("transform", ""))
    if moved and own.get("href", "").startswith(GLYPH):
        del own["transform"]
        own["x"] = f"{float(moved[1]):.0f}"


def _sixteenth(found: re.Match[str]) -> str:
    return f"{float(found[0]) / 16:.0f}"


def _straight(path: str) -> str:
    """A path whose lines along an axis name but the coordinate that changes."""
    parts, x, y = [], "", ""
    for letter, text in PART.findall(path):
        before, numbers = (x, y), text.split()
        x, y = numbers[-2:] if len(numbers) > 1 else ("", "")
        along = {(True, False): f"V{y}", (False, True): f"H{x}"}.get((x == before[0], y == before[1]))
        parts.append(along if letter == "L" and along and x else letter + text)
    return "".join(parts)


def _rounded(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("scale") else f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _shorten_names(root: Element) -> None:
    """Number the names that are referred to; drop the others, but those by which the page's script finds marks."""
    own = {element.attrib.pop("id"): element for element in root.iter() if "id" in element.attrib}
    short: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:  # a colour looks like a name
        return f"#{short.setdefault(found[1], f'n{len(short)}')}" if found[1] in own else found[0]

    for element in root.iter():
        element.attrib = {key: REFERENCE.sub(number, text) for key, text in element.attrib.items()}
    for name, element in own.items():
        if name in short or name.startswith(OWNER):
            element.set("id", short.get(name, name))


def _share_styles(root: Element) -> None:
    """Make classes of the styles, each with its clipping, that come more than once."""
    styles = Counter(_style(element) for element in root.iter())
    names = {style: f"s{k}" for k, (style, count) in enumerate(styles.most_common()) if style and count > 1}
    sheet = root.find(".//style")
    if sheet is None:
        return
    for element in root.iter():
        if (style := _style(element)) in names:
            element.attrib = {key: text for key, text in element.attrib.items() if key not in ("style", "clip-path")}
            element.set("class", names[style])
    sheet.text = (sheet.text or "") + "".join(f".{name}{{{style}}}" for style, name in names.items())


def _style(element: Element) -> str:
    clip = element.get("clip-path")
    return ";".join(part for part in (element.get("style"), f"clip-path:{clip}" if clip else "") if part)


def _ungroup(parent: Element) -> None:
    """Put the children of groups that say nothing in their place."""
    children: list[Element] = []
    for child in parent:
        _ungroup(child)
        children += child if child.tag == "g" and not child.attrib else [child]
    parent[:] = children


def _join_marks(root: Element) -> None:
    """Let marks that follow one another, of one shape and style, be a path that has them at its points."""
    number = itertools.count()
    for parent in list(root.iter()):
        children: list[Element] = []
        for (shape, style), members in itertools.groupby(parent, lambda child: (_mark(child), child.get("class", ""))):
            row = list(members)
            children += _path_of_marks(row, f"k{next(number)}", style) if shape and len(row) > FEW else row
        parent[:] = children


def _mark(element: Element) -> str:
    """The shape that an element puts at a place, where it does no more than that."""
    alone = element.tag == "use" and element.attrib.keys() <= {"href", "x", "y", "class"}
    return element.get("href", "") if alone and {"x", "y"} <= element.attrib.keys() else ""


def _path_of_marks(row: Sequence[Element], name: str, style: str) -> list[Element]:
    marker = Element("marker", {"id": name, "class": style, "markerUnits": "userSpaceOnUse", "overflow": "visible"})
    marker.append(Element("use", {"href": row[0].get("href", "")}))
    places = "L".join(f"{mark.get('x')} {mark.get('y')}" for mark in row)
    return [marker, Element("path", {"d": f"M{places}", "style": f"fill:none;stroke:none;marker:url(#{name})"})]
