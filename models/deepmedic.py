"""DeepMedic as NiftyNet built it for the Generalised Dice paper."""

import torch
from torch import Tensor, nn

from .network import CONVOLUTIONS, LegalSizes, Network, crop_border, nearest, normalisation

WIDTHS = (30, 30, 40, 40, 40, 40, 50, 50)


class DeepMedic(Network):
    """Two paths of eight valid convolutions, one of them on every third voxel (Kamnitsas et al. 2017).

    The normal path sees the patch without a border of 16; the low path sees the centre voxel of every cell of 3
    voxels an axis, and its output is repeated 3 times. Each layer is a 3-wide convolution without bias, batch norm and
    PReLU that starts as ReLU; widths 30 30 40 40 40 40 50 50. The two are concatenated, two 1-wide layers of
    150 follow, then the logits: 51 -> 3, 63 -> 15, 87 -> 39. Receptive fields 17, and 17 cells of 3. 661,082
    parameters for 3 channels and 2 classes in 3D; NiftyNet's, with batch norm and PReLU on the logits (so that they
    start at or above zero), has 661,086.

    Shape:
        - input ``(B, in_channels, *S)``, axes divisible by 3 and at least 51
        - output ``(B, num_classes, *(S - 48))`` logits of the centre.

    Args:
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        niftynet_head: batch norm and PReLU on the logits in place of a bias, as NiftyNet has it.
        spatial_dims: 2 for images, 3 for volumes.

    Example:
        >>> import torch
        >>> from models import DeepMedic
        >>> DeepMedic(spatial_dims=2).eval()(torch.zeros(1, 1, 51, 51)).shape  # the centre
        torch.Size([1, 2, 3, 3])
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 2, niftynet_head: bool = False, spatial_dims: int = 3
    ) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(3, minimum=51))
        dims = spatial_dims

        def layer(before: int, after: int, kernel: int) -> nn.Sequential:
            return nn.Sequential(
                CONVOLUTIONS[dims](before, after, kernel, bias=False),
                normalisation("batch", dims, after),
                nn.PReLU(after, init=0.0),
            )

        def path() -> nn.Sequential:
            widths = zip((in_channels, *WIDTHS), WIDTHS, strict=False)
            return nn.Sequential(*(layer(before, after, 3) for before, after in widths))

        self.normal_path = path()
        self.low_path = path()
        head = layer(150, num_classes, 1) if niftynet_head else CONVOLUTIONS[dims](150, num_classes, 1)
        self.head = nn.Sequential(layer(2 * WIDTHS[-1], 150, 1), layer(150, 150, 1), head)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image's centre."""
        self.check(image)
        thirds = image[..., 1::3, 1::3] if self.spatial_dims == 2 else image[..., 1::3, 1::3, 1::3]
        normal = self.normal_path(crop_border(image, 16))
        return self.head(torch.cat((normal, nearest(self.low_path(thirds), 3)), dim=1))
