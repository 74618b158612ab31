"""Tiny predictions in the layouts of other programs, made by code."""

import argparse
import json
import pickle
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from lightning_app.maps.command import add_options
from lightning_app.maps.folder import Folder, open_folder

AFFINE = np.array([[-0.8, 0, 0, 12.0], [0, 0.8, 0, -7.0], [0, 0, 2.5, 3.0], [0, 0, 0, 1]])


def make_probs(shape, classes=2, seed=0, sharp=3.0):
    """Smooth probabilities (K, *S) and labels (*S) that they mostly meet."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    logits = [np.zeros(shape)]
    for _ in range(1, classes):
        centre = rng.uniform(-0.4, 0.4, len(shape))
        logits.append(sharp * (0.5 - sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) * 2))
    logits = np.stack(logits) + rng.normal(0, 0.3, (classes, *shape))
    probs = np.exp(logits - logits.max(0))
    probs = (probs / probs.sum(0)).astype(np.float32)
    draws = rng.uniform(size=shape)
    labels = (draws[None] > np.cumsum(probs, 0)).sum(0).clip(0, classes - 1).astype(np.uint8)
    return probs, labels


def save_nifti(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def save_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def images(root: Path, names=("a", "b", "c"), shape=(21, 17), bits=8):
    """A PNG a case of the foreground's probability and labels of 0 and 255; the probabilities as they are read back."""
    top = 2**bits - 1
    made = {}
    for seed, name in enumerate(names):
        probs, labels = make_probs(shape, 2, seed)
        stored = np.rint(probs[1] * top).astype(np.uint8 if bits == 8 else np.uint16)
        save_png(root / "probs" / f"{name}.png", stored)
        save_png(root / "labels" / f"{name}.png", labels * np.uint8(255))
        foreground = stored.astype(np.float32) / top
        made[name] = (np.stack((1 - foreground, foreground)), labels)
    return made


def nnunet(root: Path, names=("p1", "p2", "p3"), shape=(9, 8, 6), classes=3, dtype=np.float32):
    """nnU-Net v2's folder: (K, z, y, x) in .npz, .pkl, hard masks, dataset.json; gives the maps in (x, y, z)."""
    made = {}
    for seed, name in enumerate(names):
        probs, labels = make_probs(shape, classes, seed)
        folder = root / "pred"
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{name}.npz", probabilities=probs.transpose(0, 3, 2, 1).astype(dtype))
        properties = {
            "sitk_stuff": {
                "spacing": (0.8, 0.8, 2.5),
                "origin": (-12.0, 7.0, 3.0),
                "direction": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
            },
            "spacing": [2.5, 0.8, 0.8],
            "shape_before_cropping": shape[::-1],
        }
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(properties))
        save_nifti(folder / f"{name}.nii.gz", probs.argmax(0).astype(np.uint8))
        save_nifti(root / "labels" / f"{name}.nii.gz", labels)
        made[name] = (probs.astype(dtype), labels)
    names_of = {"background": 0, **{f"organ{k}": k for k in range(1, classes)}}
    facts = {"labels": names_of, "file_ending": ".nii.gz", "channel_names": {"0": "MR"}}
    (root / "pred" / "dataset.json").write_text(json.dumps(facts))
    return made


def opened(probs, labels, *options) -> Folder:
    """The folder under the options of the command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_options(parser)
    return open_folder(parser.parse_args(["--probs", str(probs), "--labels", str(labels), *map(str, options)]))


def read_all(folder: Folder):
    """Name to case."""
    return {pair.name: folder.read(pair) for pair in folder.pairs.pairs}
