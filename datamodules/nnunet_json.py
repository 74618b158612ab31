"""nnU-Net's `dataset.json`, of version 1 or 2, and the Decathlon's, which is version 1."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import DataError
from .masks import IGNORE

_METHODS = {"ct": "fingerprint", "nonorm": "none", "rescale_to_0_1": "minmax"}


@dataclass(frozen=True)
class DatasetJson:
    """What the file says.

    Args:
        channels: Names of the channels in order; none where the file does not say.
        class_names: Names of the classes, background first.
        mapping: Stored value to class, 255 for what is ignored.
        ending: File ending with its dot, or empty where the file does not say.
        listed: For each case its image files and its label file, where the file lists them, as written there.
        training: Image files of the training cases, where a version 1 file lists them.
    """

    channels: tuple[str, ...]
    class_names: tuple[str, ...]
    mapping: dict[int, int]
    ending: str = ""
    listed: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    training: tuple[str, ...] = ()

    @property
    def stored(self) -> tuple[int, ...]:
        """The value that stands for each class in a label file."""
        first: dict[int, int] = {}
        for value, number in self.mapping.items():
            first.setdefault(number, value)
        return tuple(first[number] for number in range(len(self.class_names)))

    @property
    def normalisation(self) -> tuple[str, ...]:
        """nnU-Net's normalisation of each channel, by its name: CT by the fingerprint, others by z-score."""
        return tuple(_METHODS.get(name.lower(), "zscore") for name in self.channels)


def read_dataset_json(path: Path) -> DatasetJson:
    """Read and check the file.

    Raises:
        DataError: If it is absent, not understood, or defines classes that overlap or share a name.
    """
    if not path.is_file():
        raise DataError(f"{path}: does not exist. Set root to the folder that holds dataset.json, images and labels.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        channels = facts.get("channel_names") or facts.get("modality") or {}
        ending = str(facts.get("file_ending", ""))
        names, mapping = read_labels(facts["labels"])
        listed = {str(name): (tuple(map(str, e["images"])), str(e["label"])) for name, e in _cases(facts).items()}
        training = tuple(str(entry["image"]) for entry in facts.get("training", []))
        ordered = tuple(str(channels[key]) for key in sorted(channels, key=int))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not understood ({error!r}). See nnU-Net's dataset_format.md.") from error
    if ending and not ending.startswith("."):
        ending = f".{ending}"
    return DatasetJson(ordered, names, mapping, ending, listed, training)


def _cases(facts: dict[str, Any]) -> dict[str, Any]:
    found = facts.get("dataset") or {}
    if not isinstance(found, dict):
        raise TypeError("dataset is no object of cases")
    return found


def read_labels(labels: dict[str, Any]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names and the mapping from stored values to classes.

    Args:
        labels: Version 2: name to number, or to a list of numbers that are one class; version 1: number to name.

    Raises:
        DataError: If regions overlap or two classes share a name.
        ValueError: If there is no background 0.
    """
    if all(str(key).isdigit() and not str(value).isdigit() for key, value in labels.items()):
        pairs = [(str(name), [int(number)]) for number, name in labels.items()]
    else:
        pairs = [(str(name), [int(n) for n in (v if isinstance(v, list) else [v])]) for name, v in labels.items()]
    ignored = [number for name, numbers in pairs if name == "ignore" for number in numbers]
    classes = sorted((numbers, name) for name, numbers in pairs if name != "ignore")
    if not classes or classes[0][0] != [0]:
        raise ValueError("labels hold no background 0")
    mapping = dict.fromkeys(ignored, IGNORE)
    for position, (numbers, name) in enumerate(classes):
        for number in numbers:
            if number in mapping:
                raise DataError(
                    f"labels: value {number} belongs to {name!r} and to another label. Regions that overlap are not "
                    "supported: give each value a label of its own."
                )
            mapping[number] = position
    names = tuple(name for _, name in classes)
    if len(set(names)) < len(names):
        raise DataError(f"labels: two classes share a name in {', '.join(names)}. Rename one.")
    return names, mapping
