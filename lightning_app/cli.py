"""The front door: one help for all verbs, errors of the user in one line, light verbs without the training program."""

import difflib
import os
import pkgutil
import sys
from typing import TYPE_CHECKING, NoReturn

from lightning_app.errors import UserError, is_users
from lightning_app.system.first_process import ends_untold
from lightning_app.system.threads import give_way

if TYPE_CHECKING:
    from lightning_app.training.program import TrainingCLI

TRAINING_VERBS = {
    "fit": "train a network, then evaluate its best checkpoint on the validation cases",
    "validate": "evaluate a checkpoint on the validation cases",
    "test": "evaluate a checkpoint on the test cases: per_case.csv, intervals, reliability diagrams",
    "predict": "write masks and probability maps, also of a folder of new images (--data.predict_root)",
    "calibrate": "fit a post-hoc calibrator to validation cases, or to stored maps (calibrate --probs MAPS --help)",
    "export": "write a checkpoint's network as ONNX, checked against the network",
}
STOPPED = 130
HELPS = ("short", "losses", "networks")
OTHER_VERBS = {  # each with a function whose module imports what is heavy after it has read the arguments
    "evaluate": ("lightning_app.maps.command:evaluate", "score a folder of probability maps made by any program"),
    "apply": ("lightning_app.maps.command:apply", "write maps calibrated by what calibrate --probs kept"),
    "sweep": ("lightning_app.sweep.command:main", "run a sweep file without a server, resumable"),
    "report": ("lightning_app.report.command:main", "make one HTML page that compares runs"),
    "data": ("lightning_app.data_command:main", "list the data sets, check a folder before hours are spent"),
    "dashboard": ("lightning_app.dashboard:main", "write a W&B workspace for a sweep"),
    "nnunet-path": (
        "calibrated_segmentation.integrations.nnunet_path:main",
        "print the folder of our trainers, for nnU-Net's variable nnUNet_extTrainer",
    ),
}
MAPS_CALIBRATE = "lightning_app.maps.command:calibrate"


def main(args: list[str] | None = None, run: bool = True) -> "TrainingCLI | None":
    """Run one command.

    Args:
        args: The command line without the program's name; the process's own where none is given.
        run: Run the verb; otherwise only read its options and build its objects, with no run folder (training verbs).

    Returns:
        The training program's objects for `fit`, `validate`, `test`, `predict`, `calibrate`, `export`, else None.

    Raises:
        SystemExit: With code 2 after an error of the user, printed in one line; with a traceback under `--debug`.
    """
    give_way()
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    if not args or args[0] in {"-h", "--help"}:
        sys.stdout.write(overview())
        return None
    try:
        return _dispatch(args, run)
    except KeyboardInterrupt:
        sys.stderr.write("lightning_app: stopped\n")
        raise SystemExit(STOPPED) from None
    except Exception as error:
        from lightning_app.wording import in_words, of_the_machine

        told = of_the_machine(error)
        if debug or not (told or is_users(error)):
            raise
        _fail(told or in_words(str(error)))


def console() -> None:
    """The installed script `calseg`: the program, with the working directory's own packages in reach as under `-m`."""
    sys.path.insert(0, os.getcwd())
    main()


def overview() -> str:
    """The help that lists every verb."""
    verbs = {**TRAINING_VERBS, **{verb: text for verb, (_, text) in OTHER_VERBS.items()}}
    lines = [
        "usage: python -m lightning_app VERB [OPTIONS]",
        "",
        "Train, calibrate and compare biomedical segmentation networks in 2D and 3D.",
        "",
        *(f"  {verb:<11} {text}" for verb, text in verbs.items()),
        "",
        "  python -m lightning_app fit                  train on synthetic images, no data needed",
        "  python -m lightning_app fit --help           what most people set; also --help all, losses, networks",
        "  python -m lightning_app fit --model.loss.help losses.DicePlusPlusLoss",
        "                                               the options of one loss; also --model.net.help, --data.help",
        "  --debug                                      show the traceback of an error",
        "",
    ]
    return "\n".join(lines)


def _dispatch(args: list[str], run: bool) -> "TrainingCLI | None":
    verb = args[0]
    command = MAPS_CALIBRATE if verb == "calibrate" and _names_maps(args) else OTHER_VERBS.get(verb, ("",))[0]
    if verb == "evaluate":
        _offline_unless_chosen()
    if command:
        code = pkgutil.resolve_name(command)(args[1:])
        if code:
            raise SystemExit(code)
        return None
    if verb not in TRAINING_VERBS:
        verbs = [*TRAINING_VERBS, *OTHER_VERBS]
        near = difflib.get_close_matches(verb, verbs, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown verb {verb!r}; {meant}choose from {', '.join(verbs)}")
    if (asked := _help_asked(args[1:])) in HELPS:
        sys.stdout.write(_help(verb, asked))
        return None
    _offline_unless_chosen()
    from lightning_app.system.memory import keep_freed_memory
    from lightning_app.training.program import run_training

    keep_freed_memory()
    return run_training(args, run)


def _help_asked(args: list[str]) -> str:
    """What of the help is asked for: `short`, `losses`, `networks`, `all`; nothing where none is."""
    places = [place for place, arg in enumerate(args) if arg in {"-h", "--help"}]
    if not places:
        return ""
    following = args[places[0] + 1 :]
    return following[0] if following and following[0] in {*HELPS, "all"} else "short"


def _help(verb: str, asked: str) -> str:
    from lightning_app.helping import short_help

    if asked == "short" and verb != "fit":
        return short_help(verb, TRAINING_VERBS[verb], {})
    from lightning_app.class_help import choices, room_help

    return short_help(verb, TRAINING_VERBS[verb], choices()) if asked == "short" else room_help(asked)


def _offline_unless_chosen() -> None:
    """W&B writes to the run folder, unless the user or a sweep chose where."""
    if "WANDB_MODE" not in os.environ and "WANDB_SWEEP_ID" not in os.environ:
        os.environ["WANDB_MODE"] = "offline"
        os.environ.setdefault("WANDB_SILENT", "true")  # the summary says how to upload


def _names_maps(args: list[str]) -> bool:
    """Whether `calibrate` is asked of stored maps and not of a checkpoint."""
    return any(arg.partition("=")[0] == "--probs" for arg in args)


def _fail(message: str) -> NoReturn:
    """Print one line, of several processes that meet the same once, and end with code 2."""
    if not ends_untold():
        sys.stderr.write(f"lightning_app: error: {message} (--debug shows where)\n")
    raise SystemExit(2)
