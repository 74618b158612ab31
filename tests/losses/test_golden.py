"""Values and gradients of the published implementations, with default arguments."""

import json
from pathlib import Path

import numpy as np
import pytest

import losses
from tests.losses.cases import golden_pair, value_and_gradient

GOLDEN = [
    entry
    for name in ("dscpp", "mbls")
    for entry in json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text())
]


#: The loss behind each golden name, from the numbers in the name; what is not used is the default.
BUILDERS = {
    "dsc_plus_plus": lambda n: losses.DicePlusPlusLoss(gamma=n["gamma"]),
    "tversky_plus_plus": lambda n: losses.TverskyPlusPlusLoss(gamma=n["gamma"]),
    "focal_tversky_plus_plus": lambda n: losses.FocalTverskyPlusPlusLoss(gamma=n["gamma"]),
    "cross_entropy": lambda n: losses.CrossEntropyLoss(),
    "dice_ce": lambda n: losses.ComboLoss(),
    "asym_focal": lambda n: losses.AsymmetricFocalLoss(),
    "asym_focal_tversky": lambda n: losses.AsymmetricFocalTverskyLoss(gamma=n["gpp"]),
    "asym_unified_focal": lambda n: losses.UnifiedFocalLoss(gamma=n["gamma_plus_plus"]),
    "ce_dice": lambda n: losses.DiceCrossEntropyLoss(),
    "mbls_l1": lambda n: losses.MarginLabelSmoothingLoss(margin=n["margin"]),
    "mbls_dice": lambda n: losses.MarginDiceLoss(margin=n["margin"]),
    "ecp": lambda n: losses.EntropyPenaltyLoss(alpha=n["alpha"]),
    "label_smoothing": lambda n: losses.LabelSmoothingLoss(alpha=n["alpha"]),
    "focal": lambda n: losses.FocalLoss(gamma=n["gamma"]),
    "svls": lambda n: losses.SpatiallyVaryingLabelSmoothingLoss(),
    "nacl": lambda n: losses.NeighborAwareCalibrationLoss(kernel=n["kernel"], distance=n["distance"]),
}


def build(name):
    kind, *pairs = name.split(":")
    options = dict(pair.split("=") for pair in pairs)
    return BUILDERS[kind]({key: float(v) if v[0].isdigit() else v for key, v in options.items()})


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda e: f"seed{e['case']['seed']}-{e['loss']}")
def test_equals_the_original(entry):
    logits, labels = golden_pair(entry["case"])
    value, gradient = value_and_gradient(build(entry["loss"]), logits, labels)
    assert value.item() == pytest.approx(entry["value"], rel=1e-7)
    assert gradient.norm().item() == pytest.approx(entry["grad_l2"], rel=1e-7)
    np.testing.assert_allclose(gradient.flatten()[:5], entry["grad_head"], rtol=1e-6, atol=1e-14)


def test_every_golden_name_is_covered():
    assert {entry["loss"].split(":")[0] for entry in GOLDEN} == set(BUILDERS)
