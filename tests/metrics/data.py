"""Inputs of every awkward kind."""

import numpy as np
import torch


def segmentation(shape=(17, 23), classes=3, seed=0, sharpness=2.0, dtype=torch.float32):
    """Probabilities (K, *S) and labels (*S) drawn from somewhat flatter ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(classes, *shape, generator=generator) * sharpness
    truth = (logits * 0.7).softmax(0).reshape(classes, -1)
    labels = torch.multinomial(truth.T, 1, generator=generator)[:, 0].reshape(shape)
    return logits.softmax(0).to(dtype), labels.to(torch.uint8)


def two_class(foreground):
    """Probabilities (2, n) from foreground probabilities whose complement is exact or rounded as softmax would."""
    p = torch.as_tensor(np.asarray(foreground), dtype=torch.float32)
    return torch.stack([1 - p, p])


def awkward():
    """Name -> (probs (2, n) float32, target (n,))."""
    edges = np.arange(16, dtype=np.float32) / np.float32(15)
    near = np.concatenate([edges, np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1))]).clip(0, 1)
    rng = np.random.default_rng(0)
    saturated = np.where(rng.random(400) < 0.5, 0.0, 1.0)
    cases = {
        "edges of 15 bins and their neighbours": near,
        "fine edges": np.arange(3001, dtype=np.float32)[::7] / np.float32(3000),
        "zero": np.zeros(7),
        "one": np.ones(7),
        "saturated": saturated,
        "ties": np.full(9, 0.5),
        "one voxel": np.array([0.3]),
        "tiny": np.array([1e-30, 1e-38, 1e-45, 1e-7]),
        "two bins only": np.array([0.501, 0.502, 0.999, 0.9995]),
    }
    return {name: (two_class(p), torch.from_numpy(rng.integers(0, 2, len(p)))) for name, p in cases.items()}
