"""A folder of predictions with its labels: what form it has, which cases, and one case after the other."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datamodules import DataError
from datamodules.masks import IGNORE
from datamodules.raters import majority
from lightning_app.errors import UserError
from lightning_app.maps import nnunet, values
from lightning_app.maps.command import numbers
from lightning_app.maps.grid import arrangements, check_mask, hard_labels, on_grid, unlike
from lightning_app.maps.hard import are_hard, hard_map
from lightning_app.maps.labels import Coding, Label, read_label
from lightning_app.maps.pairing import Files, Pair, Pairs, ending_of, find, group_classes, pair
from lightning_app.maps.reading import Form, Map, class_axis, files_of, read_map
from lightning_app.maps.space import check_place
from lightning_app.maps.storage import KEYS, NUMPY, TIFF, VOLUMES, array_names, read_array

PEEKED = 3  # cases from which the axes of a folder are told


@dataclass(frozen=True)
class Case:
    """One case, ready to be scored: probabilities (K, *S) or regions (R, *S), labels (*S), and what was doubtful.

    Of several raters the label is what most say, and `raters` (n, *S) what each says.
    """

    name: str
    probs: np.ndarray
    label: Label
    map: Map
    raters: np.ndarray | None = None


def views(case: Case) -> list[Case]:
    """The case once for each rater, with what that one says; of one rater itself."""
    if case.raters is None:
        return [case]
    return [replace(case, label=replace(case.label, array=labels)) for labels in case.raters]


@dataclass(frozen=True)
class Folder:
    """Predictions with labels.

    Attributes:
        pairs: The cases, and what was left over.
        form: What the maps have in common.
        coding: How labels hold classes.
        hard: The maps are hard masks: no probabilities.
        resample: Bring maps on other grids to that of their label.
    """

    pairs: Pairs
    form: Form
    coding: Coding
    hard: bool
    resample: bool

    def read(self, case: Pair) -> Case:
        """Read and check a case.

        Raises:
            DataError: If a file is not what it should be; the message names it.
        """
        label, raters = self._labels(case)
        chosen, beside = files_of(case.maps, self.form.kind)
        path = next(iter(chosen.values()))
        if self.hard:
            map_ = hard_map(chosen, self.form, label.array.shape)
        else:
            map_ = read_map(case.maps, self.form, label.array.shape)
            if beside is not None:
                check_mask(map_, self.form, path, beside)
        case_ = Case(case.name, on_grid(map_, label, path, self.resample, bool(self.form.regions)), label, map_, raters)
        counted = label.array != IGNORE
        foreground = case_.probs if self.form.regions else case_.probs[1:]
        values.count_extremes(foreground if counted.all() else foreground[:, counted], map_.found)
        return case_

    def _labels(self, case: Pair) -> tuple[Label, np.ndarray | None]:
        """The label, and of several raters what each says."""
        label = read_label(case.label, self.coding, case.valid)
        if not case.raters:
            return label, None
        others = [read_label(files, self.coding, case.valid) for files in case.raters]
        for files, other in zip(case.raters, others, strict=True):
            if other.array.shape != label.array.shape:
                raise DataError(
                    f"{files.all[0]}: shape {other.array.shape}, but {case.label.all[0]} has {label.array.shape}."
                )
            check_place(files.all[0], other.affine, case.label.all[0], label.affine, label.array.shape)
        several = np.stack([label.array, *(other.array for other in others)])
        return replace(label, array=majority(several).astype(np.uint8)), several


def open_folder(options: argparse.Namespace) -> Folder:
    """Find the cases and tell from the first few what form they have.

    Raises:
        UserError: If maps and labels do not pair, or an option does not fit.
        DataError: If a file is not what it should be.
    """
    maps, labels = find(options.probs, "--probs"), find(options.labels, "--labels")
    valid = find(options.valid, "--valid") if options.valid else None
    facts = nnunet.read_labels(next(iter(maps.values())).all[0].parent)
    classes, regions = class_names(options, facts)
    maps, labels = group_classes(maps, classes, labels), group_classes(labels, classes, maps)
    images = find(options.images, "--images") if getattr(options, "images", None) else None
    pairs = _rated(pair(maps, labels, valid, images), getattr(options, "raters", None) or (), classes)
    coding = Coding(
        classes, regions, options.label_coding, options.label_values, options.label_threshold, options.label_colours,
        options.ignore if options.ignore is not None or facts is None else facts.ignore,
    )  # fmt: skip
    peeked = [(case, read_label(case.label, coding, case.valid)) for case in pairs.pairs[:PEEKED]]
    form = _form(peeked, classes, regions, options, tuple(facts.order) if facts else ())
    hard = options.format == "mask" or (options.format is None and are_hard((case.maps for case in pairs.pairs), form))
    if hard and regions:
        raise UserError("--format mask: hard masks hold one class a voxel, no regions; leave --regions out")
    if regions and pairs.pairs[0].raters:
        raise UserError("--raters: regions that may overlap are scored against one label a case; leave --raters out")
    folder = Folder(pairs, form if hard else _with_axis(form, *peeked[0]), coding, hard, options.resample)
    if not hard:
        _check_arrangement(folder)
    return folder


def _rated(pairs: Pairs, texts: Sequence[str], classes: Sequence[str]) -> Pairs:
    """The cases with the labels of further raters.

    Raises:
        UserError: If a rater has no label of a case.
    """
    names = [case.name for case in pairs.pairs]
    found = [group_classes(find(text, "--raters"), classes, names) for text in texts]
    for text, files in zip(texts, found, strict=True):
        if without := [name for name in names if name not in files]:
            raise UserError(f"--raters {text}: no label for {len(without)} of {len(names)} cases, first {without[0]}")
    cases = [replace(case, raters=tuple(files[case.name] for files in found)) for case in pairs.pairs]
    return replace(pairs, pairs=cases)


def class_names(
    options: argparse.Namespace, facts: nnunet.Labels | None
) -> tuple[tuple[str, ...], dict[str, list[int]] | None]:
    """Names of the classes, and the regions, from the options or nnU-Net's dataset.json.

    Raises:
        UserError: If nobody tells the classes, or there are fewer than two or two of one name.
    """
    regions = _parse_regions(options.regions) if options.regions else None
    if regions is None and facts is not None and facts.regions is not None:
        regions = facts.regions
    given = tuple(name.strip() for name in options.classes.strip("[]").split(",")) if options.classes else ()
    if regions:
        return (given[0] if given else "background", *regions), regions
    names = given or tuple(facts.names if facts else ())
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UserError(f"--classes {options.classes or ''}: give two or more different names, background first")
    if "all" in names:
        raise UserError(f"--classes {','.join(names)}: all is the name of the row over all classes; give another")
    if facts is not None and set(names) == set(facts.names) and names != tuple(facts.names):
        numbered = ", ".join(f"{name} {number}" for number, name in enumerate(facts.names))
        raise UserError(f"--classes {','.join(names)}: dataset.json numbers them {numbered}; leave --classes out")
    return names, None


def _parse_regions(text: str) -> dict[str, list[int]]:
    try:
        parts = [part.split("=") for part in text.split(";") if part.strip()]
        return {name.strip(): list(numbers(united)) for name, united in parts}
    except ValueError:
        raise UserError(f"--regions {text!r}: write 'whole=1,2,3;core=2,3'") from None


def _form(
    peeked: Sequence[tuple[Pair, Label]],
    classes: tuple[str, ...],
    regions: dict[str, list[int]] | None,
    options: argparse.Namespace,
    order: tuple[int, ...],
) -> Form:
    """What the maps have in common."""
    case, label = peeked[0]
    chosen, beside = files_of(case.maps, options.format)
    path = next(iter(chosen.values()))
    kind = options.format or _kind(path, beside)
    dims = label.array.ndim
    turned = options.axes == "zyx"
    if options.axes is None and ending_of(path) in NUMPY and dims == 3 and label.volume:
        volumes = beside is None or ending_of(beside) in VOLUMES
        turned = volumes if kind == "nnunet" else all(_only_reversed(c, own, classes) for c, own in peeked)
    return Form(kind, classes, dims, regions, order, options.logits, turned)


def _with_axis(form: Form, case: Pair, label: Label) -> Form:
    """The form with the place of the classes' axis, where the files have one."""
    chosen, _ = files_of(case.maps, form.kind)
    path = next(iter(chosen.values()))
    stored = read_array(path).array.shape
    if len(chosen) > 1 or len(stored) <= form.dims:
        return form
    return replace(form, classes_first=class_axis(path, stored, form, label.array.shape) == 0)


def _kind(path: Path, beside: Path | None) -> str:
    """The form that an ending, the name of the array, or the company of a file tells."""
    ending = ending_of(path)
    if ending == ".npz":
        alone = beside is None and not path.with_suffix(".pkl").is_file()
        return "npy" if alone or not set(KEYS) & set(array_names(path)) else "nnunet"
    if ending in NUMPY:
        return "npy"
    if ending in TIFF:
        return "tiff"
    return "nifti" if ending in VOLUMES else "png"


def _only_reversed(case: Pair, label: Label, classes: Sequence[str]) -> bool:
    """Whether the shape of an array fits the label from behind alone, as SimpleITK has axes."""
    path = next(iter(files_of(case.maps, "npy")[0].values()))
    shape, wanted = read_array(path).array.shape, label.array.shape
    spatial = {shape} if len(shape) == len(wanted) else {shape[1:], shape[:-1]}
    return wanted not in spatial and wanted[::-1] in spatial


def _check_arrangement(folder: Folder) -> None:
    """Refuse where the first cases that are not empty hardly meet their labels, and all do in another arrangement.

    Raises:
        DataError: If so.
    """
    if folder.form.regions:
        return
    better: set[str] | None = None
    asked = 0
    for case in map(folder.read, folder.pairs.pairs):
        counted = case.label.array[case.label.array != IGNORE]
        if not counted.any() or not hard_labels(case.probs, folder.form).any():
            continue  # an empty one lies as any other
        here = _off(case, case.probs, folder.form)
        if here < 0.3:
            return  # the usual case, at the first
        found = _better(case, folder.form, 0.5 if here >= 0.8 else here / 4)
        better = found if better is None else better & found
        if not better:
            return
        asked += 1
        if asked == PEEKED:
            break
    if better:
        path, name = case.map.stored[0][0], min(better)
        cure = "Write the map as its label lies" + (", or give --axes zyx." if path.suffix in NUMPY else ".")
        raise DataError(f"{path}: hardly meets its label, and does with {name}. {cure}")


def _better(case: Case, form: Form, most: float) -> set[str]:
    """Arrangements of a map in which less than a share of its foreground differs from the label.

    Where the label is most of a case, a poor map is no reversed one.
    """
    large = (case.label.array[case.label.array != IGNORE] != 0).mean() > 0.5
    ways = arrangements(case.probs, form)[1 if large else 0 :]
    return {name for name, turn in ways if _off(case, turn(case.probs), form) < most}


def _off(case: Case, probs: np.ndarray, form: Form) -> float:
    """Share of the foreground in which probabilities differ from the label."""
    counts = case.label.array != IGNORE
    return unlike(hard_labels(probs, form) * counts, case.label.array * counts)


def describe(folder: Folder, options: argparse.Namespace) -> list[str]:
    """What is said before anything is computed: pairs, orphans, form, order of the classes."""
    pairs, form = folder.pairs, folder.form
    kind = "hard masks" if folder.hard else {"png": "images", "npy": "NumPy arrays"}.get(form.kind, form.kind)
    lines = [f"maps      {options.probs}: {kind}, {_shown(p.name for p in pairs.pairs)}"]
    lines += [f"labels    {options.labels}"]
    if raters := getattr(options, "raters", None):
        lines += [f"raters    {1 + len(raters)}, --labels and {', '.join(raters)}: the label is what most say"]
    if options.valid:
        lines += [f"counted   where {options.valid} is set"]
    if form.regions:
        united = "; ".join(f"{name} = labels {', '.join(map(str, n))}" for name, n in form.regions.items())
        lines += [f"regions   {united}: sigmoids, each a two-class problem of its own"]
    else:
        lines += [f"classes   {', '.join(f'{k} {name}' for k, name in enumerate(form.classes))}"]
    if form.turned:
        lines += ["axes      z, y, x in the files, turned to the x, y, z of the labels"]
    if pairs.maps_alone:
        lines += [f"WARNING   {len(pairs.maps_alone)} maps have no label: {_shown(pairs.maps_alone)}"]
    if pairs.labels_alone:
        lines += [f"WARNING   {len(pairs.labels_alone)} labels have no map: {_shown(pairs.labels_alone)}"]
    if folder.hard:
        lines += ["WARNING   hard masks hold no probabilities: overlap and surface distances only, no calibration"]
    return lines


def findings(found: Mapping[str, int], cases: int) -> list[str]:
    """What was doubtful over all cases, a line each."""
    told = []
    if found.get("values"):
        zeros, ones = found.get("zeros", 0) / found["values"], found.get("ones", 0) / found["values"]
        bits = "".join(f"stored in {n} bits; " for n in (8, 16) if found.get(f"bits_{n}"))
        if bits or zeros + ones > 0.001:
            told.append(f"{bits}{zeros:.2%} of the foreground probabilities are exactly 0, {ones:.2%} exactly 1")
    if found.get("uneven"):
        cure = "renormalised; regions that overlap need --regions"
        told.append(f"WARNING   sums over the classes are off 1 in {found['uneven']:,} voxels: {cure}")
    if found.get("empty"):
        told.append(f"WARNING   {found['empty']:,} voxels have no probability in any class: taken as background")
    if found.get("clipped"):
        told.append(f"WARNING   {found['clipped']:,} values lay a little outside [0, 1]: clipped")
    if found.get("resampled"):
        told.append(f"WARNING   {found['resampled']} of {cases} maps were resampled to the grid of their labels")
    if found.get("masks_unlike"):
        told.append(
            f"WARNING   in {found['masks_unlike']} of {cases} cases the hard mask beside the map is not its largest "
            "probability (post-processed?): the map is what counts"
        )
    return told


def _shown(names: Iterable[str]) -> str:
    held = list(names)
    return f"{len(held)} cases, {', '.join(held[:3])}{' ...' if len(held) > 3 else ''}"


def files_by_name(folder: Folder) -> dict[str, Files]:
    """The map files of each case."""
    return {case.name: case.maps for case in folder.pairs.pairs}
