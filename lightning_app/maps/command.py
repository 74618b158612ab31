"""The verbs of stored maps: their options; what reads, scores and fits is imported once they are understood."""

import argparse

from lightning_app.calibration.methods import CLASSES

FORMATS = ("nnunet", "nifti", "monai", "npy", "png", "tiff", "mask")
CODINGS = ("binary", "index", "files", "colour")


def evaluate(args: list[str]) -> int:
    """Run `evaluate`.

    Args:
        args: Arguments after the verb.
    """
    options = evaluate_parser().parse_args(args)
    from lightning_app.maps.evaluate import evaluate_maps

    evaluate_maps(options, args)
    return 0


def calibrate(args: list[str]) -> int:
    """Run `calibrate --probs`.

    Args:
        args: Arguments after the verb.
    """
    options, rest = _calibrate_parser().parse_known_args(args)
    from lightning_app.maps.calibrate import calibrate_maps

    calibrate_maps(options, rest)
    return 0


def apply(args: list[str]) -> int:
    """Run `apply`.

    Args:
        args: Arguments after the verb.
    """
    options = _apply_parser().parse_args(args)
    from lightning_app.maps.apply import apply_calibrator

    apply_calibrator(options)
    return 0


def _parser(verb: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(f"python -m lightning_app {verb}", description=description, allow_abbrev=False)


def evaluate_parser() -> argparse.ArgumentParser:
    """Parser of `evaluate`."""
    parser = _parser(
        "evaluate",
        "Score a folder of probability maps, made by whatever program, against labels: overlap, "
        "calibration, diagrams, as an ordinary run folder that `report` compares with others, paired by case.",
    )
    add_options(parser)
    add = parser.add_argument
    _add_raters(parser)
    add("--images", metavar="DIR|PATTERN", help="images to draw cases on; else they are drawn on the map")
    add("--name", help="name of the method and its run folder (default: the folder of the maps)")
    add("--data", help="name of the data set in reports (default: the folder of the labels)")
    add("--runs_dir", default="runs", metavar="DIR", help="folder that run folders are made in")
    add("--promise", metavar="FILE", help="file of calibrate --method risk or cases, to hold against the cases")
    add("--surface", type=_flag, default=False, metavar="true|false", help="surface distances too: HD95, ASSD, NSD")
    add("--objects", type=_flag, default=False, metavar="true|false", help="connected components too, matched by IoU")
    add("--object_iou", type=float, default=0.5, metavar="IOU", help="least IoU at which objects match")
    add("--object_connectivity", type=int, metavar="N", help="1 faces, 2 edges, 3 corners (default: 1 in 2D, 3 in 3D)")
    add("--threshold", default="argmax", metavar="CUTS", help="cut of each foreground class that makes the masks")
    add("--jobs", type=int, default=1, metavar="N", help="cases scored at once")
    add(
        "--wandb",
        type=_flag,
        default=True,
        metavar="true|false",
        help="log to W&B, offline unless WANDB_MODE says else",
    )
    return parser


def _calibrate_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "calibrate",
        "Fit a post-hoc calibrator to a folder of probability maps with labels, cases that no network was "
        "trained on. Before and after are judged by cross-fitting: no case judges a fit that saw it.",
    )
    add_options(parser)
    _add_raters(parser)
    parser.add_argument(
        "--method",
        choices=(*CLASSES, "risk", "cases"),
        default="temperature",
        help="the kind of calibrator, or cuts by risk, or what is promised of single cases",
    )
    _add_risk_options(parser)
    parser.add_argument("--out", "--output", required=True, metavar="FILE", help="file to keep the calibrator in")
    parser.epilog = "Further arguments of the method's class in models: --options.NAME VALUE, as --options.gamma 2"
    return parser


def _add_risk_options(parser: argparse.ArgumentParser) -> None:
    """Options of the methods `risk` and `cases`."""
    add = parser.add_argument
    add("--risk", choices=("fnr", "fdr", "precision"), default="fnr", help="what --method risk keeps low")
    add(
        "--level",
        type=float,
        default=0.1,
        help="the largest risk; cases: share of missing intervals, of bad among passing cases",
    )
    add(
        "--confidence",
        type=float,
        help="probability that it is kept; without one it is kept in expectation (cases: 0.9)",
    )
    add("--by", choices=("case", "voxel"), default="case", help="mean over cases, or all voxels together")
    add("--dice", type=float, default=0.8, help="Dice below which a case is bad, for --method cases")
    add("--of_class", action="append", metavar="CLASS", help="class that is promised of, may be repeated; else all")


def _apply_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "apply",
        "Write calibrated probability maps: same layout in, same layout out. Hard masks that lie beside "
        "the maps, as nnU-Net writes them, are made anew from what was calibrated.",
    )
    add = parser.add_argument
    add("calibrator", help="file of calibrate --probs ... --out")
    add("--probs", required=True, metavar="DIR|PATTERN", help="maps of cases that the fit has not seen")
    add("--out", "--output", required=True, metavar="DIR", help="folder to write to")
    add("--valid", metavar="DIR|PATTERN", help="masks of what counts in cases.csv, as a field of view")
    add(
        "--format",
        choices=tuple(form for form in FORMATS if form != "mask"),
        help="form of the maps; that of the fit if left out",
    )
    add(
        "--logits",
        type=_flag,
        default=None,
        metavar="true|false",
        help="the values are logits; as in the fit if left out",
    )
    add(
        "--threshold",
        choices=("argmax", "risk"),
        help="how masks are made; risk where the file holds a promise, else argmax",
    )
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that say where maps and labels lie and how they hold classes."""
    add = parser.add_argument
    add("--probs", required=True, metavar="DIR|PATTERN", help="probability maps; a pattern holds {name}, maybe {class}")
    add("--labels", required=True, metavar="DIR|PATTERN", help="their labels")
    add("--valid", metavar="PATTERN", help="masks of what counts, as a field of view")
    add("--classes", metavar="NAMES", help="class names, background first, as background,vessel")
    add("--regions", metavar="REGIONS", help="maps are sigmoids of regions that overlap: 'whole=1,2,3;core=2,3'")
    add("--format", choices=FORMATS, help="form of the maps, where it is not told apart by itself")
    add("--axes", choices=("xyz", "zyx"), help="axes of volumes in .npy and .npz, where their shape does not tell")
    add("--logits", type=_flag, default=False, metavar="true|false", help="the values are logits")
    add("--resample", type=_flag, default=False, metavar="true|false", help="bring maps to the grid of their labels")
    add("--label_coding", choices=CODINGS, help="how labels hold classes, as ImageFolder's coding")
    add("--label_values", type=numbers, metavar="VALUES", help="stored value of each class, as 0,255")
    add("--label_threshold", type=int, default=127, metavar="GREY", help="grey value above which is foreground")
    add("--label_colours", type=_colours, metavar="COLOURS", help="colour of each class, as [[0,0,0],[255,0,0]]")
    add("--ignore", type=int, metavar="VALUE", help="stored value of voxels that do not count, as 255")


def _add_raters(parser: argparse.ArgumentParser) -> None:
    """The option that names further raters."""
    parser.add_argument(
        "--raters", nargs="+", metavar="DIR|PATTERN", help="labels of every further rater of the same cases"
    )


def _flag(text: str) -> bool:
    """True or false.

    Raises:
        ArgumentTypeError: For anything else.
    """
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas, with or without brackets."""
    return tuple(int(part) for part in text.strip("[]() ").split(",") if part.strip())


def _colours(text: str) -> tuple[tuple[int, ...], ...]:
    """Triples of whole numbers, as [[0,0,0],[255,0,0]].

    Raises:
        ArgumentTypeError: If the numbers are no triples.
    """
    flat = numbers(text.replace("[", "").replace("]", ""))
    if len(flat) % 3:
        raise argparse.ArgumentTypeError(f"{text!r} holds no triples, as [[0,0,0],[255,0,0]]")
    return tuple(flat[k : k + 3] for k in range(0, len(flat), 3))
