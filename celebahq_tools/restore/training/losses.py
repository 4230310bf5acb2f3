"""What training makes small.

Legend: x = result, y = the undamaged picture, both (N, 3, H, W) float32; C = a critic's scores, (N, 1, h, w).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

CHARBONNIER_EPSILON = 1e-3
CRITIC_CHANNELS = (32, 64, 128)
LEAKY_SLOPE = 0.2


def charbonnier(x: Tensor, y: Tensor) -> Tensor:
    """mean sqrt((x - y)^2 + e^2), a smooth absolute error (Lai et al. 2017, section 3.2)."""
    return torch.sqrt((x - y).square() + CHARBONNIER_EPSILON**2).mean()


def spectrum(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of the two-dimensional spectra, real and imaginary parts (Cho et al. 2021, eq. 5)."""
    difference = torch.fft.rfft2(x - y, norm="ortho")
    return torch.view_as_real(difference).abs().mean()


class Critic(nn.Module):
    """(N, 3, H, W) => (N, 1, H/8, W/8): how real each neighbourhood looks.

    Means, not strides, make it coarser: gradients of strided convolutions differ from pixel to pixel, and draw a grid.
    Without normalisation, so that it can reach the margins of the hinge, where it stops pulling.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in CRITIC_CHANNELS:
            layers += [
                nn.Conv2d(before, channels, kernel_size=3, padding=1),
                nn.LeakyReLU(LEAKY_SLOPE),
                nn.AvgPool2d(2),
            ]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, kernel_size=3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return cast(Tensor, self.layers(x))


def relativistic_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss: real above the mean of fake by 1, and the reverse (Jolicoeur-Martineau 2018, section 4.2).

    With the arguments exchanged it is the loss of the network.
    """
    above = functional.relu(1 - (real - fake.mean())).mean()
    below = functional.relu(1 + (fake - real.mean())).mean()
    return (above + below) / 2
