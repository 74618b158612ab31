"""Turns what the user typed into what the parser reads: default configs, run folders for checkpoints, resume."""

from pathlib import Path

from lightning_app.errors import UserError
from lightning_app.files import load_yaml, read_yaml
from lightning_app.shipped import CONFIGS, find_config
from lightning_app.training.processes import tell
from lightning_app.training.run_folder import RunFolder

KEYWORDS = ("best", "last")
SHORT = {
    "--lr": "--optimizer.lr",
    "--max_epochs": "--trainer.max_epochs",
    "--batch_size": "--data.batch_size",
    "--devices": "--trainer.devices",
    "--precision": "--trainer.precision",
    "--seed": "--seed_everything",
}


def expand(args: list[str]) -> list[str]:
    """Put the base configuration before the user's arguments, so that what is given later wins.

    The base is the default config; then, where the user names a checkpoint and no config, the config of its run; else,
    where the user names neither config nor data, the Phantom recipe.

    Raises:
        FileNotFoundError: If a run folder or checkpoint is not there.
        UserError: If `--resume` meets arguments that it does not go with.
    """
    verb, rest = args[0], _classes_first(_found_configs([_long(arg) for arg in args[1:]]))
    _check_documents(rest)
    runs_dir = _value(rest, "--runs_dir") or "runs"
    configs = [CONFIGS / "default.yaml"]
    resume = _value(rest, "--resume")
    option = "--weights_from" if _value(rest, "--ckpt_path") is None else "--ckpt_path"
    checkpoint = _value(rest, option)
    if option == "--weights_from" and checkpoint is not None and (verb != "fit" or resume is not None):
        raise UserError(f"--weights_from {checkpoint} goes with fit, and without --resume and --ckpt_path")
    if resume is not None:
        if verb != "fit" or checkpoint is not None:
            raise UserError(f"--resume {resume} goes with fit, and without --ckpt_path")
        run = _existing_run(resume)
        rest += _checkpoint_to_go_on_from(run)
        configs.append(run.config)
    elif checkpoint is not None:
        path = resolve_checkpoint(checkpoint, runs_dir, verb)
        rest = _replace(rest, option, str(path))
        folder = RunFolder.of_checkpoint(path)
        if folder is not None and not _names_config(rest):
            configs.append(folder.config)
    elif not _names_config(rest) and _value(rest, "--data") is None:
        configs.append(CONFIGS / "phantom.yaml")
    return [verb, *(f"--config={config}" for config in configs), *rest]


def _long(arg: str) -> str:
    """An option by its full name where it was given by a short one."""
    name, equals, value = arg.partition("=")
    return f"{SHORT.get(name, name)}{equals}{value}"


def resolve_checkpoint(given: str, runs_dir: str, verb: str) -> Path:
    """The checkpoint file of a file name, a run folder, or `best` / `last` of the newest run.

    Raises:
        FileNotFoundError: If there is none: never a silent new start.
    """
    if given in KEYWORDS:
        return RunFolder.latest(runs_dir, given).checkpoint(given)
    if Path(given).is_dir():
        run = _existing_run(given)
        return _existing(run.checkpoint("last") if verb == "fit" else run.scored)
    return _existing(Path(given))


def _checkpoint_to_go_on_from(run: RunFolder) -> list[str]:
    """The argument that names a run's newest sound checkpoint; none where the training ended before its first."""
    from lightning_app.training.checkpoint_files import newest_sound

    path, faults = newest_sound(run)
    for fault in faults:
        tell(f"{fault}; going on from {path}")
    if path is None:
        tell(f"{run} holds no checkpoint yet: its training starts from the beginning")
        return []
    return [f"--ckpt_path={path}"]


def _existing_run(path: str) -> RunFolder:
    run = RunFolder(Path(path))
    if not run.config.is_file():
        cure = "; its training ended before it was written: run the same command again" if run.path.is_dir() else ""
        raise FileNotFoundError(f"{path} is no run folder: it has no config.yaml{cure}")
    return run


def _check_documents(args: list[str]) -> None:
    """Refuse YAML that blows up once its aliases are written out, before the parser meets it.

    Raises:
        UserError: If a file or a value is such a document.
    """
    for value in (arg.partition("=")[2] if arg.startswith("--") else arg for arg in args):
        path = Path(value) if value.endswith((".yaml", ".yml")) else None
        if path is not None and path.is_file():
            read_yaml(path)
        elif "&" in value and "*" in value:
            load_yaml(value, value[:40])


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    return path


def _found_configs(args: list[str]) -> list[str]:
    """The arguments with shipped configurations by their full path."""
    found = []
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name == "--config" and equals:
            arg = f"--config={find_config(value)}"
        elif index and args[index - 1] in {"--config", "-c"}:
            arg = find_config(arg)
        found.append(arg)
    return found


def _classes_first(args: list[str]) -> list[str]:
    """The arguments with `--data DRIVE` before `--data.root`, where it came after: the parser reads them in turn.

    What is a file or a mapping stays in its place, as does all that a `--config` stands between.
    """
    groups: list[list[str]] = []
    for arg in args:
        if groups and not arg.startswith("--") and arg != "-c":
            groups[-1].append(arg)
        else:
            groups.append([arg])
    ordered: list[list[str]] = []
    for group in groups:
        name, _, value = "=".join(group).partition("=")
        names = [known[0].partition("=")[0] for known in ordered]
        place = next((index for index, known in enumerate(names) if known.startswith(f"{name}.")), len(names))
        is_tree = value.startswith("{") or value.endswith((".yaml", ".yml"))
        stays = is_tree or name in names or not {"--config", "-c"}.isdisjoint(names[place:])
        ordered.insert(len(names) if stays else place, group)
    return [arg for group in ordered for arg in group]


def _names_config(args: list[str]) -> bool:
    return any(arg in {"--config", "-c"} or arg.startswith("--config=") for arg in args)


def _value(args: list[str], name: str) -> str | None:
    """The last value given to an option, in either spelling."""
    value = None
    for index, arg in enumerate(args):
        if arg == name and index + 1 < len(args):
            value = args[index + 1]
        elif arg.startswith(f"{name}="):
            value = arg.partition("=")[2]
    return value


def _replace(args: list[str], name: str, value: str) -> list[str]:
    """The arguments with the option's value replaced; its last place counts."""
    kept, skip = [], False
    for arg in args:
        if skip:
            skip = False
        elif arg == name:
            skip = True
        elif not arg.startswith(f"{name}="):
            kept.append(arg)
    return [*kept, f"{name}={value}"]
