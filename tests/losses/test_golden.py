"""Values and gradients of the published implementations, with default arguments."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import losses
from tests.losses.cases import golden_pair, value_and_gradient

GOLDEN = [
    entry
    for name in ("dscpp", "mbls")
    for entry in json.loads((Path(__file__).parent / "golden" / f"{name}.json").read_text())
]


def build(name: str) -> torch.nn.Module | None:
    """Build the loss that a golden name stands for."""
    kind, *pairs = name.split(":")
    options = {key: value for key, value in (pair.split("=") for pair in pairs)}
    number = {key: float(value) for key, value in options.items() if value[0].isdigit()}
    builders = {
        "dsc_plus_plus": lambda: losses.DicePlusPlusLoss(gamma=number["gamma"]),
        "tversky_plus_plus": lambda: losses.TverskyPlusPlusLoss(fn_weight=number["delta"], gamma=number["gamma"]),
        "focal_tversky_plus_plus": lambda: losses.FocalTverskyPlusPlusLoss(
            exponent=number["exponent"], gamma=number["gamma"]
        ),
        "cross_entropy": lambda: losses.CrossEntropyLoss(),
    }
    return builders[kind]()


@pytest.mark.parametrize(
    "entry",
    [
        e
        for e in GOLDEN
        if e["loss"].split(":")[0] in ("dsc_plus_plus", "tversky_plus_plus", "focal_tversky_plus_plus", "cross_entropy")
    ],
    ids=lambda e: f"seed{e['case']['seed']}-{e['loss']}",
)
def test_equals_the_original(entry):
    logits, labels = golden_pair(entry["case"])
    value, gradient = value_and_gradient(build(entry["loss"]), logits, labels)
    assert value.item() == pytest.approx(entry["value"], rel=1e-9)
    assert gradient.norm().item() == pytest.approx(entry["grad_l2"], rel=1e-9)
    np.testing.assert_allclose(gradient.flatten()[:5], entry["grad_head"], rtol=1e-7, atol=1e-14)
