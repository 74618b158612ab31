"""Calibrators by the name of their method, and the record of one in a checkpoint."""

import difflib
from typing import Any

import models
from lightning_app.calibration.methods import CLASSES
from lightning_app.errors import UserError
from models import Calibrator, MultiLabelCalibrator

KEY = "calibrator"


def build(method: str, arguments: dict[str, Any]) -> Calibrator:
    """A calibrator by the name of its method.

    Raises:
        ValueError: If the method is unknown or does not take an argument.
    """
    if method not in CLASSES:
        near = difflib.get_close_matches(method, CLASSES, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"--method {method}: no such calibrator; {meant}method must be one of {', '.join(CLASSES)}")
    try:
        return getattr(models, CLASSES[method])(**arguments)
    except TypeError as error:
        raise ValueError(f"--method {method}: {error}") from error


def build_for(method: str, arguments: dict[str, Any], regions: int) -> Calibrator | MultiLabelCalibrator:
    """A calibrator, or one for each of so many regions that may overlap; 0 where there are none."""
    if not regions:
        return build(method, arguments)
    return MultiLabelCalibrator([build(method, arguments) for _ in range(regions)])


def restore(checkpoint: dict[str, Any]) -> tuple[Calibrator | MultiLabelCalibrator, dict[str, Any]] | None:
    """The calibrator of a checkpoint and its record (method, cases, thresholds), or None where it has none."""
    record = checkpoint.get(KEY)
    if record is None:
        return None
    try:
        calibrator = build_for(record["method"], record["arguments"], record.get("regions", 0))
        calibrator.load_state_dict(record["state"])
        complete = {"cases": list(record["cases"]), "thresholds": list(record["thresholds"])}
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"the checkpoint's calibrator cannot be read ({reason}): calibrate it again") from error
    return calibrator.requires_grad_(False), record | complete
