"""What makes the formulas of the families fast: voxels in chunks, gradients by hand, named sums.

A family in :mod:`losses` shows its formula whole, voxel by voxel, as summands by name. They become sums, by one of:

* :mod:`~losses.engine.voxels`: the formula itself on one chunk after the other, its gradient by autograd, or by a
  function of :mod:`~losses.engine.slopes` where that was measured to pay;
* :mod:`~losses.engine.fast`: overlap, entropy, margin and lead of integer labels in one pass with all gradients derived
  by hand, from one sigmoid (:mod:`~losses.engine.two_classes`) or one softmax (:mod:`~losses.engine.many_classes`);
* under ``torch.compile`` the formula on all voxels at once, for the compiler to fuse.

``tests/losses/test_engine.py`` holds all of them to the formula.
"""

from .fast import Cost, Terms
from .inputs import IGNORED, all_counted, compact_labels, compute_dtype, flatten_pair
from .rows import Summed, Sums
from .sums import voxel_sums
from .voxels import HandSlopes, Slopes, Voxels, as_numbers, power

__all__ = [
    "IGNORED",
    "Cost",
    "HandSlopes",
    "Slopes",
    "Summed",
    "Sums",
    "Terms",
    "Voxels",
    "all_counted",
    "as_numbers",
    "compact_labels",
    "compute_dtype",
    "flatten_pair",
    "power",
    "voxel_sums",
]
