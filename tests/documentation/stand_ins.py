"""What lies where the documentation's commands look: tiny images, maps, and runs that were trained on them."""

import shutil
from pathlib import Path

import numpy as np

from lightning_app.cli import main
from tests.data.brats.make import make as make_brats
from tests.data.common import blob, generator, picture, save_image, save_volume
from tests.data.cvc_clinicdb.make import make as make_cvc_clinicdb
from tests.data.decathlon.make import make as make_decathlon
from tests.data.drive.make import make as make_drive
from tests.data.dsb2018.make import make as make_dsb2018
from tests.data.kits19.make import make as make_kits19
from tests.data.nnunet_raw.make import make as make_nnunet_raw
from tests.data.stare.make import make as make_stare
from tests.maps.fakes import make_probs, nnunet, save_png

# Words that a reader replaces, and what they stand for here. `runs/...` that no other word makes is two runs.
MEANT = {
    "runs/NAME": "runs/a",
    "runs/NAME/wandb": "runs/a/wandb",
    "RUN": "runs/a",
    "FOLDER": "data/drive/DRIVE/training",
    "NAME": "DRIVE",
    "data/NAME": "data/drive",
    "losses.YourLoss": "losses.DiceLoss",
}
CASES = {  # maps and labels of one group are of the same cases
    "val": ("val", "val_labels", "VAL_PROBS", "VAL_LABELS", "VAL_MAPS", "masks"),
    "test": ("PROBS", "LABELS", "test", "test_labels", "TEST_MAPS", "TEST_LABELS"),
    "new": ("new", "NEW_MAPS"),
}
RATERS = ("Person1_Amira", "Person3_Amira", "Person4_Amira", "Person5_Amira")
LEARNT = ("--trainer.max_epochs=8", "--trainer.limit_train_batches=10", "--optimizer.lr=0.01")  # better than chance
TINY = (
    "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.enable_progress_bar=false",
    "--trainer.logger=false", "--data.num_workers=0",
)  # fmt: skip
FLAT = (
    "--data=datamodules.DRIVE",
    "--data.size=[48,48]",
    "--data.patch_size=[32,32]",
    "--data.batch_size=4",
    "--model.net.dropout=0.2",
    "--data.split=random",
    "--data.split_sizes=[12,22,6]",
)
DEEP = (
    "--data=datamodules.Decathlon",
    "--data.task=Task04_Hippocampus",
    "--data.patch_size=[16,16,16]",
    "--data.split_sizes=[4,2,2]",
)
SMALL = ("--model.net=models.UNet", "--model.net.width=4", "--model.net.depth=2")


def make_data(root: Path) -> None:
    """`data/`, the folder $SEGMENTATION_DATA, and folders of the reader's own."""
    makers = {
        "brats": make_brats, "cvc_clinicdb": make_cvc_clinicdb, "drive": make_drive, "dsb2018": make_dsb2018,
        "kits19": make_kits19, "stare": make_stare,
    }  # fmt: skip
    for name, make in makers.items():
        make(root / "data" / name)
    make_decathlon(root / "data" / "decathlon", count=12)
    make_nnunet_raw(root / "Dataset137_BraTS2021", "regions")
    shutil.copytree(root / "data" / "drive" / "DRIVE", root / "DRIVE")
    for name in ("new_images", "NEW"):
        shutil.copytree(root / "DRIVE" / "test" / "images", root / name)
    rng = generator()
    for number in range(6):
        mask = blob((40, 44), rng)
        save_image(root / f"BU-BIL_Dataset1/RawImages/cell{number}.png", picture(mask, rng)[..., 0])
        for rater in RATERS:
            save_image(
                root / f"BU-BIL_Dataset1/ExpertsAnnotations/{rater}/Seg_cell{number}.png", 255 * mask.astype("u1")
            )
    for number in range(6):
        lesion = blob((20, 20, 20), rng)
        save_volume(root / f"lesions/patient{number}/flair.nii.gz", 100.0 * lesion + rng.integers(0, 60, lesion.shape))
        for rater in (1, 2, 3):
            save_volume(root / f"lesions/patient{number}/rater{rater}.nii.gz", lesion.astype("u1"))
    np.save(root / "image.npy", rng.normal(size=(3, 32, 32)).astype(np.float32))


def make_maps(root: Path) -> None:
    """Probability maps and labels, as images, and as nnU-Net writes them."""
    for place, (group, folders) in enumerate(CASES.items()):
        for number in range(30):
            seed, name = number + 100 * place, f"{group}{number:02d}"
            probs, labels = make_probs((21, 17), 2, seed)
            for folder in folders:
                array = 255 * labels if "LABELS" in folder.upper() or folder == "masks" else np.rint(255 * probs[1])
                ending = "_Segmentation" if folder == "masks" else ""
                save_png(root / folder / f"{name}{ending}.png", array.astype(np.uint8))
    for number in range(1, 21):
        probs, _ = make_probs((44, 43), 2, number)
        save_png(root / f"probabilities/{number:02d}_test.png", np.rint(255 * probs[1]).astype(np.uint8))
    for folder, labels, depth in (("predictions", "labelsTs", 6), ("fold_0/validation", "labelsTr", 7)):
        nnunet(root / "made", [f"{labels}{number}" for number in range(4)], (9, 8, depth))
        shutil.move(root / "made" / "pred", root / folder)
        shutil.move(root / "made" / "labels", root / labels)


def make_runs(root: Path, learnt: bool) -> None:
    """`runs/a` in 2D and `runs/c` in 3D, trained for a step or for seconds; `runs/b` is a copy of the first."""
    long = LEARNT if learnt else ()
    for name, data in (("a", FLAT), ("c", DEEP)):
        main(["fit", *data, *SMALL, *TINY, *long, f"--runs_dir={root / 'runs'}", f"--run_name={name}"])
    (root / "runs" / "a" / "wandb").mkdir()
    shutil.copytree(root / "runs" / "a", root / "runs" / "b")
