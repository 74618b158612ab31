"""Look at a folder of somebody's and say what it holds and how to train on it."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import readers
from .base import SegmentationData
from .decathlon import Decathlon
from .errors import DataError
from .image_folder import ImageFolder
from .masks import IGNORE
from .nnunet_raw import NNUNetRaw
from .patterns import Listing
from .values import counted, listed, suits

_MASK_WORDS = ("mask", "gold", "label", "truth", "seg", "annotation", "manual", "gt", "target")
_PLAIN = "mask"  # which may also be the field of view, where another folder has a name that says more
_SAMPLE = 12
_MAX_COLOURS = 16


@dataclass
class Finding:
    """What a folder holds.

    Args:
        facts: Rows (fact, found).
        data: Name of the data set class to read it with, or empty where none was found.
        options: Its options, without dashes, as (name, value).
        hints: What to do or to know beside that.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    data: str = ""
    options: list[tuple[str, str]] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    def arguments(self, prefix: str = "--data.") -> str:
        """The options as a command line has them."""
        return " ".join(f"{prefix}{name} {shlex.quote(value)}" for name, value in self.options)


def inspect_folder(root: Path) -> Finding:
    """Find out how a folder can be read: a known set, nnU-Net's or the Decathlon's form, or images with masks.

    Raises:
        DataError: If it is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder. Give the folder that holds images and masks.")
    found = Finding()
    if not _as_a_known_form(root, found):
        _as_a_folder_of_files(root, found)
    return found


def _as_a_known_form(root: Path, found: Finding) -> bool:
    """Whether a known set, nnU-Net's or the Decathlon's form reads the folder."""
    for name, options in _forms(root):
        try:
            cases = _construct(name, options).find_cases()
        except DataError as error:
            if _nearly(root, error):
                found.hints.append(f"as {name} nothing here can be trained: {error}")
            continue
        except OSError:
            continue
        if cases:
            found.data, found.options, found.hints = name, options, []
            found.facts.append(("cases", str(len(cases))))
            return True
    return False


def _as_a_folder_of_files(root: Path, found: Finding) -> None:
    """Say what lies in the folder, and how its images go with masks."""
    images = Listing(root, readers.IMAGE_ENDINGS)
    volumes = Listing(root, tuple(e for e in readers.VOLUME_ENDINGS if e not in readers.IMAGE_ENDINGS))
    counts = {
        kind: sum(map(len, listing.names.values())) for kind, listing in (("images", images), ("volumes", volumes))
    }
    found.facts += [(kind, str(count)) for kind, count in counts.items() if count]
    if counts["images"] and counts["images"] >= counts["volumes"]:
        _look_at_images(root, images, found)
    elif counts["volumes"]:
        _look_at_volumes(volumes, found)
    else:
        found.hints.append(f"no file here has an ending that is read: {', '.join(readers.IMAGE_ENDINGS)}, .nii.gz, ...")


def _nearly(root: Path, error: DataError) -> bool:
    """Whether the layout of a known set was found, and only a file deep in it lacks."""
    path = Path(str(error).partition(": ")[0])
    return path.is_relative_to(root) and len(path.relative_to(root).parts) > 2 and path.parent.is_dir()


def _construct(name: str, options: Sequence[tuple[str, str]]) -> SegmentationData:
    import datamodules

    values: dict[str, Any] = dict(options)
    for several in {"classes", "modalities"} & set(values):
        values[several] = values[several].strip("[]").split(",")
    data: SegmentationData = getattr(datamodules, name)(**values)
    return data


def _forms(root: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Data sets that the folder may be, likely ones first."""
    from .table import all_sets

    if (root / "dataset.json").is_file():
        yield "NNUNetRaw", [("root", str(root))]
    tasks = (
        [root] if (root / "imagesTr").is_dir() else sorted(p for p in root.glob("Task*") if (p / "imagesTr").is_dir())
    )
    for task in tasks:
        options = [("root", str(task.parent)), ("task", task.name)]
        yield "Decathlon", options
        if classes := _classes_of(task):
            yield "Decathlon", [*options, ("classes", classes)]
    own = (ImageFolder, NNUNetRaw, Decathlon)
    for cls in all_sets():
        anyone = tasks and cls.__name__ == "BraTS" and "brain" not in str(tasks[0]).lower()  # its form is any task's
        if cls not in own and cls.__name__ != "Phantom" and not anyone:
            yield cls.__name__, [("root", str(root))]
            for some in (["flair", "t1ce", "t2"], ["flair", "t1ce"]) if cls.__name__ == "BraTS" else ():
                yield cls.__name__, [("root", str(root)), ("modalities", f"[{','.join(some)}]")]


def _classes_of(task: Path) -> str:
    """Names for the values of the first labels of a task; empty where they are not 0, 1, 2, ..."""
    labels = readers.files(task / "labelsTr", readers.VOLUME_ENDINGS)[:3] if (task / "labelsTr").is_dir() else []
    try:
        held = {int(value) for path in labels for value in counted(readers.read_volume(path, labels=True).array)[0]}
    except (DataError, ValueError):
        return ""
    return _names(len(held)) if held == set(range(len(held))) and len(held) > 1 else ""


def _names(count: int) -> str:
    return f"[{','.join(['background', *(f'class{number}' for number in range(1, count))])}]"


def _look_at_volumes(listing: Listing, found: Finding) -> None:
    shapes: Counter[str] = Counter()
    paths = [listing.root / folder / name for folder, names in listing.names.items() for name in names]
    for path in paths[:_SAMPLE]:
        try:
            shape, affine = readers.volume_header(path)
            spacing = " x ".join(f"{s:.3g}" for s in readers.volume_spacing(path, affine))
            shapes[f"{' x '.join(map(str, shape))} voxels of {spacing} mm, as {path.name}"] += 1
        except DataError as error:
            found.hints.append(str(error))
    found.facts += [("volume", text) for text in list(shapes)[:3]]
    found.hints.append(
        "nothing here can be trained as it lies: volumes of your own are read in nnU-Net's form: "
        "imagesTr/<case>_0000.nii.gz, "
        "labelsTr/<case>.nii.gz and dataset.json with channel_names, labels and file_ending (docs/data.md)"
    )


def _look_at_images(root: Path, listing: Listing, found: Finding) -> None:
    best = max(_pairings(listing), key=lambda pairing: pairing[0], default=None)
    if best is None or not best[0]:
        _describe([root / f / name for f, names in listing.names.items() for name in names], found)
        found.hints.append(
            "no image goes with a mask by name; give --data.images and --data.masks with {name}, {folder}"
        )
        return
    (count, *_), images, masks = best
    places = {words.get("folder", "") for _, words in listing.find(images)}
    if len(places) == 1:
        place = places.pop()
        images, masks = (pattern.replace("{folder}", place) for pattern in (images, masks))
    raters = _raters(listing, images, masks, found)
    data = ImageFolder(root=str(root), images=images, masks=raters, coding="files", classes=["background", "any"])
    pairs = [(image, data.masks_of(listing, words)) for image, words in data.named_images(listing)]
    pairs = [(image, of) for image, of in pairs if of]
    found.data = "ImageFolder"
    found.options = [
        ("root", str(root)),
        ("images", images),
        ("masks", masks if len(raters) == 1 else str(raters).replace(" ", "")),
    ]
    several = max(len(of) for _, of in pairs) // len(raters)
    found.facts.append(("pairs", f"{count}" + (f", up to {several} masks an image" if several > 1 else "")))
    _describe([image for image, _ in pairs], found)
    _propose_coding([mask for _, of in pairs[:_SAMPLE] for mask in of][: 3 * _SAMPLE], several, found)


def _raters(listing: Listing, images: str, masks: str, found: Finding) -> list[str]:
    """Patterns of all raters where folders beside that of the masks hold masks of the same images that agree.

    Raters whose masks are those of another folder, as copies of a consensus, are left out.
    """
    parent, _, name = masks.rpartition("/")
    if "{" in parent or not parent:
        return [masks]
    words = dict(listing.find(images))
    files = {}
    for folder in (folder.rstrip("/") for folder in listing.names):
        own = [listing.of(f"{folder}/{name}", {"folder": "", "name": ""} | groups) for groups in words.values()]
        if all(len(paths) == 1 and paths[0] not in words for paths in own):
            files[folder] = [paths[0] for paths in own]
    alike = [folder for folder in sorted(files) if "/" in folder and _agree(files.get(parent, []), files[folder])]
    shared = Counter(folder.rpartition("/")[0] for folder in alike).most_common(1)
    if not shared or shared[0][1] < 2:
        return [masks]
    beside = [folder for folder in alike if folder.rpartition("/")[0] == shared[0][0]]
    held = {
        folder: tuple(hash(readers.read_mask(path, "grey").tobytes()) for path in paths)
        for folder, paths in files.items()
    }
    copies = [folder for folder in beside if list(held.values()).count(held[folder]) > 1]
    if copies and len(copies) < len(beside):
        found.hints.append(f"{', '.join(copies)}: the same masks as another folder, so left out as no rater of its own")
        beside = [folder for folder in beside if folder not in copies]
    found.facts.append(("raters", str(len(beside))))
    return [f"{folder}/{name}" for folder in beside]


def _agree(one: Sequence[Path], other: Sequence[Path]) -> bool:
    """Whether two series of masks mark much the same; else they may be classes."""
    if len(one) != len(other):
        return False
    for a, b in list(zip(one, other, strict=True))[:3]:
        try:
            first, second = (readers.read_mask(path, "grey") > 0 for path in (a, b))
        except DataError:
            return False
        first, second = (dark ^ bool(np.mean(dark) > 0.5) for dark in (first, second))
        if first.shape != second.shape or 2 * (first & second).sum() < 0.5 * (first.sum() + second.sum()):
            return False
    return True


def _describe(images: Sequence[Path], found: Finding) -> None:
    """Endings, sizes and channels of some images."""
    chosen = images[:: max(1, len(images) // _SAMPLE)][:_SAMPLE]
    sizes, grey = set(), True
    for path in chosen:
        try:
            array = readers.read_image(path, 3)
        except DataError as error:
            found.hints.append(str(error))
            continue
        sizes.add(array.shape[:2])
        grey = grey and bool((array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all())
    if not sizes:
        return
    low, high = np.min(list(sizes), axis=0), np.max(list(sizes), axis=0)
    endings = ", ".join(sorted({path.suffix.lower() for path in images}))
    span = f"{low[1]} x {low[0]}" + ("" if len(sizes) == 1 else f" to {high[1]} x {high[0]}")
    found.facts.append(("format", f"{endings}, {span} pixels, {'grey' if grey else 'colour'}"))
    if grey and found.data:
        found.options.append(("channels", "1"))
    if len(sizes) > 1 and found.data:
        found.hints.append("sizes differ: --data.fit pad or crop keeps the aspect, --data.size native the size")


def _propose_coding(masks: Sequence[Path], several: int, found: Finding) -> None:
    arrays = _readable(masks, found)
    if arrays and not _propose_colours(arrays, found):
        _propose_values([readers.read_mask(path, "grey") for path in masks], several, found)


def _readable(masks: Sequence[Path], found: Finding) -> list[np.ndarray]:
    arrays = []
    for path in masks:
        try:
            arrays.append(readers.read_mask(path, "colour"))
        except DataError as error:
            found.hints.append(str(error))
    return arrays


def _propose_colours(arrays: Sequence[np.ndarray], found: Finding) -> bool:
    """Whether the masks tell their classes by colour."""
    deep = max(int(array.max()) for array in arrays) > 255 or arrays[0].dtype.kind == "f"
    packed = np.concatenate([np.unique(_packed(array)) for array in arrays] if not deep else [np.zeros(1, np.int64)])
    colours = np.stack([np.unique(packed) >> shift & 255 for shift in (16, 8, 0)], axis=1)
    coloured = bool((colours != colours[:, :1]).any())
    if coloured and len(colours) <= _MAX_COLOURS:
        found.facts.append(("colours in masks", str(colours.tolist())))
        if len(colours) > 2:
            listed_colours = str(colours.tolist()).replace(" ", "")
            found.options += [("coding", "colour"), ("colours", listed_colours), ("classes", _names(len(colours)))]
            return True
    return False


def _propose_values(grey: Sequence[np.ndarray], several: int, found: Finding) -> None:
    values, counts = counted(np.concatenate([array.ravel() for array in grey]))
    found.facts.append(("values in masks", listed(values)))
    found.options += suits(values, counts)
    if several > 1:
        found.hints.append("masks of one image are united; for one a class set --data.coding files and --data.classes")
    bright = [array > (values[0] + values[-1]) / 2 for array in grey]
    if len(values) > 1 and np.median([mask.mean() for mask in bright]) > 0.6:
        edges = [np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean() for mask in bright]
        if len(values) == 2 and np.median(edges) > 0.9:
            found.options.append(("invert", "true"))
            found.hints.append("the ground of the masks is bright and the object dark; if not, leave invert out")
        else:
            found.hints.append("most of the typical mask is bright; where the object is dark, set --data.invert true")
    if IGNORE in values.tolist() and dict(found.options).get("coding") == "index" and len(values) > 2:
        found.hints.append("where 255 does not count, take it out of values and classes and set --data.ignore [255]")


def _packed(array: np.ndarray) -> np.ndarray:
    """Red, green and blue as one number a pixel."""
    red, green, blue = (array[..., channel].ravel().astype(np.int64) for channel in range(3))
    return red << 16 | green << 8 | blue


def _pairings(listing: Listing) -> Iterator[tuple[tuple[int, bool, bool, int, int], str, str]]:
    """Pairs of patterns under which images find masks: (images that do, plainness), images, masks."""
    for images, masks in _candidates(listing):
        found = listing.find(images)
        hits, taken = 0, set[Path]()
        for image, words in found:
            own = [path for path in listing.of(masks, {"folder": "", "name": ""} | words) if path != image]
            if own and not taken & set(own):
                hits += 1
                taken |= set(own)
        if hits and 2 * hits >= len(found) - len(taken):
            says_more = any(word in masks.lower() for word in _MASK_WORDS if word != _PLAIN)
            yield (hits, says_more, "{name}" in masks, -len(taken), -len(images + masks)), images, masks


def _candidates(listing: Listing) -> Iterator[tuple[str, str]]:
    """Pairs of patterns that the names of folders and files suggest."""
    folders = [folder.rstrip("/") for folder in list(listing.names)[:400]]
    common = set.intersection(*(set(folder.split("/")) for folder in folders)) if folders else set()
    marked = {f for f in folders if any(_is_mask(part) for part in f.split("/") if part not in common)}
    seen: set[tuple[str, str]] = set()
    for mask in sorted(marked)[:16]:
        for image in [folder for folder in folders if folder not in marked][:40]:
            seen |= {pair for pair in _folder_pairs(image, mask) if pair not in seen}
    for folder in folders[:8]:
        seen |= set(_name_pairs(folder, listing.names[f"{folder}/" if folder else ""]))
    yield from seen


def _is_mask(word: str) -> bool:
    return any(part in word.lower() for part in _MASK_WORDS)


def _folder_pairs(image: str, mask: str) -> Iterator[tuple[str, str]]:
    """Patterns for two folders that differ in one part of their path, or wholly."""
    for a, b in _heads(image, mask):
        for first, second in (("{name}", "{name}"), ("{name}", "{name}_*"), ("{name}", "*_{name}")):
            yield f"{a}/{first}.*", f"{b}/{second}.*"
        if "{folder}" in a:
            yield f"{a}/{{name}}.*", f"{b}/*.*"
        for word in ("img", "image", "im"):
            for other in ("mask", "label", "seg", "gt"):
                yield f"{a}/{word}_{{name}}.*", f"{b}/{other}_{{name}}.*"


def _heads(image: str, mask: str) -> list[tuple[str, str]]:
    """The two folders, and, where only their first or last part differs, patterns that stand for their like."""
    one, two = image.split("/"), mask.split("/")
    heads = [(image, mask)]
    if len(one) != len(two):
        return heads
    different = [index for index, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    last = len(one) - 1
    if last and different == [0]:
        heads.append((f"{one[0]}/{{folder}}", f"{two[0]}/{{folder}}"))
    if last and different == [last]:
        heads.append((f"{{folder}}/{one[-1]}", f"{{folder}}/{two[-1]}"))
    return heads


def _name_pairs(folder: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Patterns for images and masks that lie side by side, told apart by what their names end or begin with."""
    head = f"{folder}/" if folder else ""
    stems = [os.path.splitext(name)[0] for name in names]
    tails = {stem[stem.rindex(mark) :] for stem in stems for mark in "_-" if mark in stem[1:]}
    starts = {stem[: stem.index("_") + 1] for stem in stems if "_" in stem}
    for tail in sorted(tails, key=len)[:60]:
        if _is_mask(tail):
            yield f"{head}{{name}}.*", f"{head}{{name}}{tail}.*"
            for other in [t for t in tails if not _is_mask(t)][:20]:
                yield f"{head}{{name}}{other}.*", f"{head}{{name}}{tail}.*"
    for start in starts:
        if _is_mask(start):
            for other in [s for s in starts if not _is_mask(s)][:20]:
                yield f"{head}{other}{{name}}.*", f"{head}{start}{{name}}.*"
