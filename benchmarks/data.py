"""The data path beside its peers: augmentation in 2D, patches from large volumes, checking, memory, and waiting.

    python -m benchmarks.data                      # all parts, about three minutes
    python -m benchmarks.data --part images        # or: patches, verify, memory, waiting
    python -m benchmarks.data --depth 64           # fewer slices, and patches no deeper than they

Milliseconds are CPU time of the process on one thread, medians over alternating rounds; "cold" is wall time after the
pages were dropped by posix_fadvise (the host may still hold them, so a lower bound). Everything is synthetic and made
in a temporary folder. Writes strict JSON where `--output` says.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import torch

from datamodules import Augment2D, Decathlon, Foreground, Phantom
from datamodules.preparation import PreparedVolume
from datamodules.sampling import Draw
from datamodules.volumes import VolumePipeline

SIDE = 96
Row = tuple[str, float, str]


def timed(
    jobs: dict[str, Callable[[int], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median milliseconds of each job, run in alternating rounds."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job(0)
    for number in range(1, rounds + 1):
        for name, job in jobs.items():
            start = time.process_time()
            job(number)
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def images(rounds: int) -> list[Row]:
    """Every augmentation on, elastic included, of one 512 x 512 image with three channels."""
    import albumentations as albu
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    mask = (rng.random((512, 512)) > 0.9).astype(np.uint8)
    pixels = rng.integers(0, 255, (512, 512, 3), dtype=np.uint8)
    floats = pixels.astype(np.float32) / 128 - 1
    ours = Augment2D(probability=1.0)
    peer = albu.Compose(
        [
            albu.HorizontalFlip(p=1),
            albu.Rotate(15, p=1),
            albu.ElasticTransform(alpha=450, sigma=11, p=1),
            albu.RandomBrightnessContrast(p=1),
        ]
    )
    grid = np.meshgrid(np.arange(512, dtype=np.float32), np.arange(512, dtype=np.float32))
    shift = [plane + 0.3 for plane in grid]
    found = timed(
        {
            "ours: flip, rotation, zoom, elastic, brightness on float32": lambda n: ours(floats, mask, n),
            "albumentations: flip, rotation, elastic, brightness on uint8": lambda n: peer(image=pixels, mask=mask),
            "limit: one linear warp of a float32 image": lambda n: cv2.remap(floats, *shift, cv2.INTER_LINEAR),
        },
        rounds,
    )
    return [(name, value, "goal 6 ms" if name.startswith("ours") else "") for name, value in found.items()]


def make_volume(folder: Path, depth: int) -> None:
    """One CT-like case of 512 x 512 x depth in the Decathlon's form, 0.5 % foreground."""
    import nibabel

    rng = np.random.default_rng(0)
    coarse = rng.integers(-200, 300, (64, 64, max(depth // 8, 1)))
    image = coarse.repeat(8, 0).repeat(8, 1).repeat(8, 2)[..., :depth].astype(np.int16)
    image += rng.integers(-8, 8, image.shape, dtype=np.int16)
    labels = np.zeros(image.shape, np.uint8)
    labels[200:280, 220:300, depth // 3 : depth // 2] = 1
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    for name, array in (("imagesTr", image), ("labelsTr", labels)):
        (folder / "Task09_Spleen" / name).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / "Task09_Spleen" / name / "spleen_1.nii.gz")


def drop_pages(folder: Path) -> None:
    """Ask the kernel to forget the pages of all files below the folder."""
    for path in folder.rglob("*.npy"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def patches(rounds: int, depth: int) -> list[Row]:
    """One foreground patch of 96^3 (image float32 and mask) from a large CT volume, at most as deep as it."""
    patch = (min(SIDE, depth), SIDE, SIDE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_volume(folder, depth)
        data = Decathlon(
            root=name,
            task="Task09_Spleen",
            patch_size=list(patch),
            sampling=Foreground(1.0),
            augment=False,
            cache="disk",
            cache_dir=f"{name}/cache",
        )
        case = data.checked_cases()[0]
        data.subsets = {"train": [case], "val": [], "test": []}
        pipeline = data.make_pipeline()
        start = time.perf_counter()
        volume = pipeline.prepare(case)
        once = time.perf_counter() - start
        rows = [("ours: preparing the volume, once", 1000 * once, "wall")]
        jobs: dict[str, Callable[[int], object]] = {
            "ours: memory map and stored foreground, warm": lambda n: pipeline.train_item(case, Draw(0, n, 0)),
            **_peers(np.array(volume.image), np.array(volume.labels), patch),
            "limit: copy of a contiguous patch": _copy(patch),
        }
        found = timed(jobs, rounds)
        rows += [(key, value, "goal 1.5 ms" if key.startswith("ours") else "") for key, value in found.items()]
        rows.append(("ours: cold, the map opened anew", _cold(pipeline, case, folder), "wall, goal 20 ms"))
        rows.append(("MONAI: volume in memory, foreground searched at every draw", _search(volume, patch), ""))
        rows.append(("MONAI: LoadImaged and RandCropByPosNegLabeld, no cache", _no_cache(case, patch), ""))
    return rows


def _copy(patch: Sequence[int]) -> Callable[[int], object]:
    image, mask = np.zeros(patch, np.float32), np.zeros(patch, np.uint8)
    return lambda n: (image.copy(), mask.copy())


def _peers(image: np.ndarray, mask: np.ndarray, patch: Sequence[int]) -> dict[str, Callable[[int], object]]:
    """MONAI with the volume in memory and the foreground searched once."""
    from monai import transforms as mt

    sample = {"image": torch.from_numpy(image), "mask": torch.from_numpy(mask[None])}
    indexed = mt.FgBgToIndicesd("mask")(dict(sample))
    options = {
        "keys": ["image", "mask"],
        "label_key": "mask",
        "spatial_size": patch,
        "pos": 1,
        "neg": 0,
        "num_samples": 1,
    }
    stored = mt.RandCropByPosNegLabeld(**options, fg_indices_key="mask_fg_indices", bg_indices_key="mask_bg_indices")
    return {
        "MONAI: volume in memory, stored indices": lambda n: stored(dict(indexed)),
    }


def _search(volume: PreparedVolume, patch: Sequence[int]) -> float:
    from monai import transforms as mt

    sample = {
        "image": torch.from_numpy(np.array(volume.image)),
        "mask": torch.from_numpy(np.array(volume.labels)[None]),
    }
    crop = mt.RandCropByPosNegLabeld(["image", "mask"], "mask", patch, pos=1, neg=0, num_samples=1)
    return timed({"search": lambda n: crop(dict(sample))}, 3)["search"]


def _cold(pipeline: VolumePipeline, case: object, folder: Path) -> float:
    storage = pipeline.storage
    times = []
    for number in range(9):
        storage._open.clear()
        drop_pages(folder)
        start = time.perf_counter()
        pipeline.train_item(case, Draw(1, number, 0))
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _no_cache(case: object, patch: Sequence[int]) -> float:
    from monai import transforms as mt

    back = tuple(reversed(patch))  # the file's axes are x, y, z
    chain = mt.Compose(
        [
            mt.LoadImaged(["image", "mask"]),
            mt.EnsureChannelFirstd(["image", "mask"]),
            mt.RandCropByPosNegLabeld(["image", "mask"], "mask", back, pos=1, neg=0, num_samples=1),
        ]
    )
    start = time.process_time()
    chain({"image": str(case.images[0]), "mask": str(case.masks[0])})
    return 1000 * (time.process_time() - start)


def checking(rounds: int) -> list[Row]:
    """Seconds a GB of compressed files that `data verify` takes beyond nibabel's reading of all voxels."""
    rows = []
    for title, shape, count in (("240 volumes of 36 x 50 x 36", (36, 50, 36), 240), ("8 of 128^3", (128,) * 3, 8)):
        with tempfile.TemporaryDirectory() as name:
            rows += [
                (f"{title}: {what}", *row) for what, *row in _check_beside_reading(Path(name), shape, count, rounds)
            ]
    return rows


def _check_beside_reading(folder: Path, shape: Sequence[int], count: int, rounds: int) -> list[Row]:
    import nibabel

    from datamodules.verify import verify
    from tests.data.common import save_volume

    rng = np.random.default_rng(0)
    for number in range(count):
        image, mask = rng.standard_normal(shape).astype(np.float32), np.zeros(shape, np.uint8)
        mask[10:20, 10:20, 10:20] = 1
        for part, array in (("imagesTr", image), ("labelsTr", mask)):
            save_volume(folder / f"Task09_Spleen/{part}/c{number}.nii.gz", array)
    files = list(folder.rglob("*.nii.gz"))
    size = sum(path.stat().st_size for path in files) / 1e9
    found = timed(
        {
            "nibabel reads": lambda n: [np.asanyarray(nibabel.load(path).dataobj) for path in files],
            "verify": lambda n: list(verify(Decathlon(root=str(folder), task="Task09_Spleen"))),
        },
        max(3, rounds // 5),
    )
    beyond = (found["verify"] - found["nibabel reads"]) / 1000 / size
    return [
        *((what, value, f"{size * 1000:.0f} MB") for what, value in found.items()),
        ("verify beyond it, a GB", 1000 * beyond, "goal 2,000 ms"),
    ]


def memory(volumes: int = 48, side: int = 96) -> list[Row]:
    """Growth of resident memory while patches are drawn from more and more volumes on disk (MiB)."""
    from tests.data.common import blob, save_volume

    rows = []
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        shape = (side,) * 3
        for number in range(volumes):
            mask = blob(shape, rng).astype(np.uint8)
            save_volume(
                Path(name) / f"Task09_Spleen/imagesTr/c{number}.nii.gz", rng.standard_normal(shape).astype(np.float32)
            )
            save_volume(Path(name) / f"Task09_Spleen/labelsTr/c{number}.nii.gz", mask)
        data = Decathlon(
            root=name, task="Task09_Spleen", patch_size=[32] * 3, augment=False, cache="disk", cache_dir=f"{name}/cache"
        )
        data.setup()
        pipeline = data.make_pipeline()
        cases = [case for members in data.subsets.values() for case in members]
        for case in cases:
            pipeline.prepare(case)
        before = _resident()
        for count in (volumes // 3, 2 * volumes // 3, volumes):
            for position in range(10 * count):
                pipeline.train_item(cases[position % count], Draw(0, position, 0))
            size = count * (5 * side**3) / 2**20
            rows.append((f"ours: patches from {count} volumes ({size:.0f} MiB)", _resident() - before, "MiB grown"))
    return rows


def _resident() -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def waiting(steps: int = 20, step_ms: float = 150.0) -> list[Row]:
    """What a training step waits for its batch, everything in memory."""
    from tests.data.decathlon.make import make as make_decathlon
    from tests.data.dsb2018.make import make as make_dsb

    rows = []
    with tempfile.TemporaryDirectory() as name:
        from datamodules import DSB2018

        make_dsb(Path(name) / "dsb", count=48)
        make_decathlon(Path(name) / "msd", count=48)
        sets = {
            "Phantom, 8 images of 64^2": lambda w: Phantom(num_workers=w),
            "DSB2018, 8 images of 256^2, all augmentation": lambda w: DSB2018(root=f"{name}/dsb", num_workers=w),
            "hippocampus, 4 patches of 32 x 48 x 32": lambda w: Decathlon(
                root=f"{name}/msd", batch_size=4, num_workers=w
            ),
        }
        for title, build in sets.items():
            for workers in (0, 1):
                data = build(workers)
                data.setup()
                rows.append(
                    (f"{title}, {workers} workers", _wait(data, steps, step_ms), f"wall, step of {step_ms:g} ms")
                )
    return rows


def _wait(data: object, steps: int, step_ms: float) -> float:
    loader = data.train_dataloader()
    waits: list[float] = []
    for epoch in range(100):
        loader.sampler.set_epoch(epoch)
        batches = iter(loader)
        for number in range(len(loader)):
            start = time.perf_counter()
            next(batches)
            if epoch > 0 and number > 0:
                waits.append(1000 * (time.perf_counter() - start))
            time.sleep(step_ms / 1000 if data.num_workers else 0)
        if len(waits) >= steps:
            break
    return statistics.median(waits)


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "images": lambda options: images(options.rounds),
    "patches": lambda options: patches(options.rounds, options.depth),
    "verify": lambda options: checking(options.rounds),
    "memory": lambda options: memory(),
    "waiting": lambda options: waiting(),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="part to run; all by default")
    parser.add_argument("--rounds", type=int, default=31, help="rounds of each measurement")
    parser.add_argument("--depth", type=int, default=200, help="slices of the large volume")
    parser.add_argument("--output", type=Path, help="write JSON to this file")
    options = parser.parse_args(args)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    result: dict[str, list[Row]] = {}
    for part in options.part or PARTS:
        result[part] = PARTS[part](options)
        sys.stdout.write(f"\n| {part} | | |\n|---|---|---|\n")
        for name, value, remark in result[part]:
            sys.stdout.write(f"| {name} | {value:.2f}{'' if 'MiB' in remark else ' ms'} | {remark} |\n")
        sys.stdout.flush()
    if options.output:
        facts = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
        facts["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        options.output.write_text(json.dumps({"facts": facts, "results": result}, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
