"""nnU-Net's `dataset.json`, of version 1 or 2, and the Decathlon's, which is version 1."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import DataError
from .masks import IGNORE

_METHODS = {"ct": "fingerprint", "nonorm": "none", "rescale_to_0_1": "minmax"}
_BY_255 = "rgb_to_0_1"


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
        regions: Where a label is a list of numbers, the classes of each region, and else none.
        order: The class that each region writes into a label map.
    """

    channels: tuple[str, ...]
    class_names: tuple[str, ...]
    mapping: dict[int, int]
    ending: str = ""
    listed: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    regions: dict[str, list[int]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    @property
    def stored(self) -> tuple[int, ...]:
        """The value that stands for each class in a label file."""
        first: dict[int, int] = {}
        for value, number in self.mapping.items():
            first.setdefault(number, value)
        return tuple(first[number] for number in range(len(self.class_names)))

    @property
    def normalisation(self) -> tuple[str, ...]:
        """nnU-Net's normalisation of each channel, by its name: CT by the fingerprint, others by z-score.

        Raises:
            DataError: If a name asks for one that volumes do not have.
        """
        if unknown := [name for name in self.channels if name.lower() == _BY_255]:
            raise DataError(
                f"channel_names: {unknown[0]} asks for a division by 255, which is not built. Set normalisation, as "
                "minmax for 0 to 1 by each volume's own extremes, or zscore."
            )
        return tuple(_METHODS.get(name.lower(), "zscore") for name in self.channels)


def read_dataset_json(path: Path) -> DatasetJson:
    """Read and check the file.

    Raises:
        DataError: If it is absent, not understood, or what it says of its labels cannot be.
    """
    if not path.is_file():
        raise DataError(f"{path}: does not exist. Set root to the folder that holds dataset.json, images and labels.")
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
        channels = facts.get("channel_names") or facts.get("modality") or {}
        ending = str(facts.get("file_ending", ""))
        united, ignored = read_labels(facts["labels"])
        names, mapping, regions = (_classes if _is_plain(united) else _regions)(united, ignored)
        order = [mapping[int(number)] for number in facts.get("regions_class_order") or []] if regions else []
        listed = {str(name): (tuple(map(str, e["images"])), str(e["label"])) for name, e in _cases(facts).items()}
        training = tuple(str(entry["image"]) for entry in facts.get("training", []))
        ordered = tuple(str(channels[key]) for key in sorted(channels, key=int))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is not understood ({error!r}). See nnU-Net's dataset_format.md.") from error
    if ending and not ending.startswith("."):
        ending = f".{ending}"
    if len(order) != len(regions):
        raise DataError(
            f"{path}: labels that are lists are regions, and regions_class_order must give the label that each of "
            f"{', '.join(regions)} writes, the first first."
        )
    return DatasetJson(ordered, names, mapping, ending, listed, training, regions, order)


def _cases(facts: dict[str, Any]) -> dict[str, Any]:
    found = facts.get("dataset") or {}
    if not isinstance(found, dict):
        raise TypeError("dataset is no object of cases")
    return found


def read_labels(labels: dict[str, Any]) -> tuple[dict[str, list[int]], int | None]:
    """The numbers of each label, background first, then as the file has them; and the ignored number.

    Args:
        labels: Version 2: name to number, or to the list of numbers that a region unites; version 1: number to name.

    Raises:
        DataError: If two labels share a name, or several numbers are ignored.
        ValueError: If there is no background 0.
    """
    if all(str(key).isdigit() and not str(value).isdigit() for key, value in labels.items()):
        pairs = [(str(name), [int(number)]) for number, name in labels.items()]
    else:
        pairs = [(str(name), [int(n) for n in (v if isinstance(v, list) else [v])]) for name, v in labels.items()]
    united = dict(pairs)
    if len(united) < len(pairs):
        raise DataError(f"labels: two classes share a name in {', '.join(name for name, _ in pairs)}. Rename one.")
    ignored = united.pop("ignore", [])
    if len(ignored) > 1:
        raise DataError(f"labels: ignore is {ignored}. Give it one number.")
    if not any(numbers == [0] for numbers in united.values()):
        raise ValueError("labels hold no background 0")
    ordered = dict(sorted(united.items(), key=lambda item: item[1] != [0]))
    return ordered, ignored[0] if ignored else None


def _is_plain(united: dict[str, list[int]]) -> bool:
    return all(len(numbers) == 1 for numbers in united.values())


def _classes(
    united: dict[str, list[int]], ignored: int | None
) -> tuple[tuple[str, ...], dict[int, int], dict[str, list[int]]]:
    """Class names, stored value to class, and no region, of labels of one number each.

    Raises:
        DataError: If two have one number.
    """
    mapping = {} if ignored is None else {ignored: IGNORE}
    classes = sorted((numbers[0], name) for name, numbers in united.items())
    for position, (number, name) in enumerate(classes):
        if number in mapping:
            raise DataError(f"labels: value {number} belongs to {name!r} and to another label. Correct one of them.")
        mapping[number] = position
    return tuple(name for _, name in classes), mapping, {}


def _regions(
    united: dict[str, list[int]], ignored: int | None
) -> tuple[tuple[str, ...], dict[int, int], dict[str, list[int]]]:
    """Class names, stored value to class, and the classes of each region, of labels that unite numbers.

    Each number is a class; a region of one number alone gives it its name.

    Raises:
        DataError: If a region holds the background or the ignored number.
    """
    regions = {name: numbers for name, numbers in united.items() if numbers != [0]}
    for name, numbers in regions.items():
        if not numbers or 0 in numbers or ignored in numbers or len(set(numbers)) < len(numbers):
            raise DataError(f"labels: {name!r} is {numbers}. Give it different numbers, not background nor ignored.")
    single = {numbers[0]: name for name, numbers in united.items() if len(numbers) == 1}
    stored = sorted({0, *(number for numbers in regions.values() for number in numbers)})
    mapping = {number: position for position, number in enumerate(stored)}
    of_classes = {name: [mapping[number] for number in numbers] for name, numbers in regions.items()}
    if ignored is not None:
        mapping[ignored] = IGNORE
    return tuple(single.get(number, f"label {number}") for number in stored), mapping, of_classes
