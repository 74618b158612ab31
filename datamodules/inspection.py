"""Look at a folder of somebody's and say what it holds and how to train on it.

Of many files some are looked at, spread over the list, and what is said of them says of how many.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import fields_of_view, guesses, proposals, readers
from .base import SegmentationData
from .case import Case
from .checks import refuse_links
from .decathlon import Decathlon
from .errors import DataError
from .findings import SAMPLE, Finding, describe_images, describe_volumes, quoted, some
from .image_folder import ImageFolder
from .masks import Index
from .nnunet_raw import NNUNetRaw
from .pairs import Paired, Pairing
from .patterns import Listing
from .rater_folders import rated, rated_files
from .values import counted, listed
from .volume_folder import VolumeFolder
from .volumes import VolumeData

_FEW_FOLDERS = 10  # which may be classes in place of patients
_OWN_FORM = (
    "volumes of several files a case are read in nnU-Net's form: imagesTr/<case>_0000.nii.gz, labelsTr/<case>.nii.gz "
    "and dataset.json with channel_names, labels and file_ending (docs/data.md)"
)


def inspect_folder(root: Path) -> Finding:
    """Find out how a folder can be read: a known set, nnU-Net's or the Decathlon's form, or images with masks.

    Raises:
        DataError: If it is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder. Give the folder that holds images and masks.")
    found = Finding()
    below = _sets_below(root)
    if len(below) > 1:
        _tell_sets(below, found)
    elif not _as_a_known_form(root, found):
        if below:
            _tell_sets(below, found)
        else:
            _as_a_folder_of_files(root, found)
    return found


def _sets_below(root: Path) -> list[Path]:
    """Folders below that are data sets of their own: by nnU-Net's or the Decathlon's form, or a known set's name."""
    from .table import all_sets

    names = {name for cls in all_sets() for name in (cls.default_folder(), *cls.other_folders)}
    below = [path for path in sorted(root.iterdir()) if path.is_dir() and readers.is_visible(path)]
    return [
        path
        for path in below
        if (path / "dataset.json").is_file() or (path / "imagesTr").is_dir() or path.name in names
    ]


def _tell_sets(below: Sequence[Path], found: Finding) -> None:
    names = ", ".join(path.name for path in below[:8]) + (", ..." if len(below) > 8 else "")
    found.facts.append(("data sets below", f"{len(below)}: {names}"))
    found.hints.append(f"each is a data set of its own, so inspect one of them: data inspect {quoted(str(below[0]))}")


def _as_a_known_form(root: Path, found: Finding) -> bool:
    """Whether a known set, nnU-Net's or the Decathlon's form reads the folder."""
    for name, options in _forms(root):
        try:
            data = _construct(name, options)
            cases = data.find_cases()
        except DataError as error:
            if name == "NNUNetRaw" or _nearly(root, error):  # whose dataset.json is there
                found.hints.append(f"as {name} nothing here can be trained: {error}")
            continue
        except OSError:
            continue
        if cases and (lacking := _lacks_classes(data, cases)):
            if not found.hints:  # which other modalities of the set would repeat
                found.hints.append(f"as {name} nothing here can be trained: {lacking}")
        elif cases:
            found.data, found.options, found.hints = name, options, []
            found.facts.append(("cases", str(len(cases))))
            _describe_known(data, cases, found)
            return True
    return False


def _lacks_classes(data: SegmentationData, cases: Sequence[Case]) -> str:
    """Why the masks are not those of a known set of several classes; empty where they may be."""
    by_number = isinstance(getattr(data, "coding", None), Index) and not isinstance(data, NNUNetRaw | Decathlon)
    if not by_number or data.num_classes < 3:
        return ""
    held = _held([mask for case in some(cases, SAMPLE) for mask in case.masks][:SAMPLE])
    if not 0 < len(held) < 3:
        return ""
    return f"its classes are {', '.join(data.class_names)}, and the masks that were looked at hold {listed(held)} alone"


def _held(masks: Sequence[Path]) -> np.ndarray:
    """Values that some masks hold together."""
    return np.unique(np.concatenate([np.zeros(0), *map(_values_of, masks)]))


def _describe_known(data: SegmentationData, cases: Sequence[Case], found: Finding) -> None:
    """Sizes, channels, classes, and what the masks hold."""
    images = [case.images[0] for case in cases]
    channels = max(1, data.in_channels)
    if isinstance(data, VolumeData) and not data.reads_images:
        describe_volumes(images, found)
    else:
        describe_images(images, found)
    found.facts.append(("channels", str(channels)))
    found.facts.append(("classes", ", ".join(data.class_names)))
    masks = [mask for case in some(cases, 3) for mask in case.masks][:SAMPLE]
    held = _held(masks)
    if len(held):
        found.facts.append((f"values in {len(masks)} masks", listed(held)))


def _values_of(mask: Path) -> np.ndarray:
    """Values that a mask file holds; none where it cannot be read as such."""
    try:
        if mask.name.lower().endswith(readers.IMAGE_ENDINGS):
            return counted(readers.read_mask(mask, "grey"))[0]
        return counted(readers.read_volume(mask, labels=True).array)[0]
    except DataError:
        return np.zeros(0)


def _as_a_folder_of_files(root: Path, found: Finding) -> None:
    """Say what lies in the folder, and how its images go with masks."""
    images = Listing(root, readers.IMAGE_ENDINGS)
    volumes = Listing(root, tuple(e for e in readers.VOLUME_ENDINGS if e not in readers.IMAGE_ENDINGS))
    counts = {"images": len(images.paths()), "volumes": len(volumes.paths())}
    found.facts += [(kind, str(count)) for kind, count in counts.items() if count]
    if counts["images"] and counts["images"] >= counts["volumes"]:
        stacks = _is_stack(images.paths()[0])
        _look_at(root, images, VolumeFolder if stacks else ImageFolder, found)
    elif counts["volumes"]:
        _look_at(root, volumes, VolumeFolder, found)
    elif series := _series_below(root):
        found.facts.append(("DICOM series", str(len(series))))
        _no_masks(VolumeFolder, found)
    else:
        found.hints.append(f"no file here has an ending that is read: {', '.join(readers.IMAGE_ENDINGS)}, .nii.gz, ...")


def _series_below(root: Path) -> list[Path]:
    try:
        return [path for folder in readers.folders(root) for path in readers.dicom_series(folder)]
    except DataError:
        return []


def _is_stack(path: Path) -> bool:
    try:
        return readers.is_stack(path)
    except DataError:
        return False


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
    own = (ImageFolder, VolumeFolder, NNUNetRaw, Decathlon)
    for cls in all_sets():
        if cls in own or cls.__name__ == "Phantom" or _is_anyones(cls.__name__, root, tasks):
            continue
        yield cls.__name__, [("root", str(root))]
        for kept in (["flair", "t1ce", "t2"], ["flair", "t1ce"]) if cls.__name__ == "BraTS" else ():
            yield cls.__name__, [("root", str(root)), ("modalities", f"[{','.join(kept)}]")]


def _is_anyones(name: str, root: Path, tasks: Sequence[Path]) -> bool:
    """Whether a set has the form of any folder (images and masks, a task), and no name here says that it is the set."""
    if name == "BraTS":
        return bool(tasks) and "brain" not in str(tasks[0]).lower()
    return name == "KvasirSEG" and not any("kvasir" in path.name.lower() for path in (root, *root.iterdir()))


def _classes_of(task: Path) -> str:
    """Names for the values of the first labels of a task; empty where they are not 0, 1, 2, ..."""
    labels = readers.files(task / "labelsTr", readers.VOLUME_ENDINGS)[:3] if (task / "labelsTr").is_dir() else []
    try:
        held = {int(value) for path in labels for value in counted(readers.read_volume(path, labels=True).array)[0]}
    except (DataError, ValueError):
        return ""
    return proposals.names(len(held)) if held == set(range(len(held))) and len(held) > 1 else ""


def _look_at(root: Path, listing: Listing, kind: type[ImageFolder | VolumeFolder], found: Finding) -> None:
    """Say how the images or volumes go with masks, and propose the options that read them."""
    ranked, refused = guesses.unambiguous(listing, guesses.ranked(listing))
    found.hints += refused
    if not ranked or not ranked[0].fits:
        _describe(kind, listing.paths(), found)
        if ranked:
            guess = ranked[0]
            found.hints.append(
                f"only {guess.hits} find a mask by --data.images {guess.images} --data.masks {guess.masks}, "
                f"{guess.missed} find none; exclude those, or give patterns that tell them apart"
            )
        _no_masks(kind, found)
        return
    guess, told_of_fields, fields = fields_of_view.without(listing, ranked)
    guess = guesses.widened(listing, guess)
    masks, told, copies = rated(listing, guess)
    if len(masks) == 1:
        masks = rated_files(listing, guess)
    paired = Pairing(guess.images, masks).find(listing)
    found.options = [
        ("root", str(root)),
        ("images", guess.images),
        ("masks", masks[0] if len(masks) == 1 else str(masks).replace(" ", "")),
    ]
    found.hints += [*told_of_fields, *told]
    _tell_pairs(root, paired, masks, found)
    _tell_rest(listing, paired, [*fields, *copies], kind, found)
    found.data = kind.__name__
    _describe(kind, [case.images[0] for case in paired.cases], found)
    if found.data:
        _propose(paired.cases, kind, found)


def _tell_pairs(root: Path, paired: Paired, masks: Sequence[str], found: Finding) -> None:
    several = max(len(case.masks) for case in paired.cases) // len(masks)
    count = len(paired.cases)
    found.facts.append(("pairs", f"{count}" + (f", up to {several} masks an image" if several > 1 else "")))
    try:
        refuse_links(paired.cases, root)
    except DataError:
        found.options.append(("follow_links", "true"))
        found.hints.append("links lead out of the folder; they are followed as far as --data.follow_links true says so")
    if len(masks) > 1:
        found.facts.append(("raters", str(len(masks))))
    if paired.unlabelled:
        inside = paired.unlabelled[0].relative_to(root).as_posix()
        found.hints.append(f"{len(paired.unlabelled)} of {count + len(paired.unlabelled)} have no mask, as {inside}")
        left_out = [path.relative_to(root).as_posix() for path in paired.unlabelled]
        if len(left_out) <= SAMPLE and not set("".join(left_out)) & set("*?[]{},'"):
            found.options.append(("exclude", left_out[0] if len(left_out) == 1 else str(left_out).replace(", ", ",")))
    if paired.orphans:
        found.hints.append(f"{len(paired.orphans)} masks go with no image, as {paired.orphans[0].relative_to(root)}")
    if groups := {case.group for case in paired.cases if case.group}:
        found.hints.append(_of_groups(len(groups)))
    if count < 3:
        found.hints.append("three cases are needed to train: one to learn from, one to choose by, one to test on")


def _of_groups(count: int) -> str:
    """What to decide where folders are kept together in the split."""
    if count < _FEW_FOLDERS:
        return (
            f"{count} folders, each of which stays in one part of the split: right for patients; where they are "
            "classes, as benign and malignant, or parts, set --data.group '(.+)'"
        )
    return "a folder stays in one part of the split; where it is no patient: --data.group '(.+)'"


def _tell_rest(
    listing: Listing, paired: Paired, told: Sequence[str], kind: type[ImageFolder | VolumeFolder], found: Finding
) -> None:
    """Say how many files the proposal leaves aside, but for those of patterns that are told of already."""
    used = {path for case in paired.cases for path in (*case.images, *case.masks)}
    used |= {*paired.unlabelled, *paired.orphans, *(path for pattern in told for path, _ in listing.find(pattern))}
    rest = [path for path in listing.paths() if path not in used]
    if rest:
        inside = min(rest).relative_to(listing.root).as_posix()
        found.hints.append(
            f"{len(rest)} more files are in no case, as {inside}; were they other masks of the same images, give "
            "--data.masks as a list (a pattern a rater), or as */{name}.* with --data.coding files (a file a class); "
            "were they more cases, patterns that match both"
        )
        if kind is VolumeFolder:
            found.hints.append(f"were they more images of a case: {_OWN_FORM}")


def _propose(cases: Sequence[Case], kind: type[ImageFolder | VolumeFolder], found: Finding) -> None:
    """Add the options by what some masks hold; where none can be read, take back what was proposed."""
    every = [mask for case in cases for mask in case.masks]
    chosen = proposals.affordable(some(every, 3 * SAMPLE if kind is ImageFolder else SAMPLE))
    proposal = proposals.of_images(cases, chosen) if kind is ImageFolder else proposals.of_volumes(cases, chosen)
    if not proposal.readable:
        found.data, found.options = "", []
        found.hints += [proposal.hints[0], f"none of the {len(chosen)} masks that were looked at can be read"]
        return
    found.facts += [(f"{fact}, {len(chosen)} of {len(every)}", value) for fact, value in proposal.facts]
    found.options += proposal.options
    found.hints += proposal.hints


def _no_masks(kind: type[ImageFolder | VolumeFolder], found: Finding) -> None:
    """What can be done with images alone."""
    if not any(hint.startswith("as ") for hint in found.hints):
        found.hints.append(
            f"no pairs of images and masks are told by name: give {kind.__name__} --data.images and --data.masks with "
            "{name}, {folder}"
        )
        if kind is VolumeFolder:
            found.hints.append(_OWN_FORM)
    found.hints.append(
        "images without masks are predicted by a network that was trained: predict --data.predict_root FOLDER; "
        "probability maps of another program are scored with evaluate --probs FOLDER (docs/predictions.md)"
    )


def _describe(kind: type[ImageFolder | VolumeFolder], paths: Sequence[Path], found: Finding) -> None:
    if kind is VolumeFolder:
        describe_volumes(paths, found)
    else:
        describe_images(paths, found)
