"""The two-path cascade's network of Havaei et al., as the Generalised Dice paper used it."""

import torch
from torch import Tensor, nn

from .network import CONVOLUTIONS, MAX_POOLS, LegalSizes, Network


class Maxout(nn.Module):
    """The larger of two convolutions, channel by channel.

    Args:
        dims: 2 for images, 3 for volumes.
        before: channels that come in.
        after: channels that go out.
        kernel: width of the valid convolutions.
    """

    def __init__(self, dims: int, before: int, after: int, kernel: int) -> None:
        super().__init__()
        self.convolution = CONVOLUTIONS[dims](before, 2 * after, kernel)

    def forward(self, features: Tensor) -> Tensor:
        """Maximum over the two halves of the channels."""
        first, second = self.convolution(features).chunk(2, dim=1)
        return torch.maximum(first, second)


class TwoPathCNN(Network):
    """Two paths over one patch, no padding (Havaei et al. 2017; Sudre et al. 2017).

    Local path: 7-wide convolution to 64, max-pool 4 of stride 1, 3-wide convolution to 64, max-pool 2 of stride 1.
    Global path: 13-wide convolution to 160. Each convolution is a maxout of two. Both lose 12 voxels; they are
    concatenated (224 channels) and a 21-wide convolution gives the logits: 51 -> 19, 63 -> 31, 85 -> 53, receptive
    field 33. 452,930 parameters for 3 channels and 2 classes in 2D.

    The Generalised Dice paper's text (a second local kernel of 5, a pooling behind the global path) doesn't give its
    own table of sizes without a further crop; this is Havaei's network, which does.

    Shape:
        - input ``(B, in_channels, *S)``, axes at least 33
        - output ``(B, num_classes, *(S - 32))`` logits of the centre.

    Args:
        in_channels: channels of the image.
        num_classes: classes, background included (1: a single sigmoid channel).
        spatial_dims: 2 for images, 3 for volumes.

    Example:
        >>> import torch
        >>> from models import TwoPathCNN
        >>> TwoPathCNN(in_channels=1)(torch.zeros(1, 1, 51, 51)).shape  # the centre
        torch.Size([1, 2, 19, 19])
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, spatial_dims: int = 2) -> None:
        super().__init__(spatial_dims, in_channels, num_classes, LegalSizes(minimum=33))
        dims = spatial_dims
        pool = MAX_POOLS[dims]
        self.local_path = nn.Sequential(
            Maxout(dims, in_channels, 64, 7), pool(4, stride=1), Maxout(dims, 64, 64, 3), pool(2, stride=1)
        )
        self.global_path = Maxout(dims, in_channels, 160, 13)
        self.head = CONVOLUTIONS[dims](64 + 160, num_classes, 21)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the image's centre."""
        self.check(image)
        return self.head(torch.cat((self.local_path(image), self.global_path(image)), dim=1))
