"""Pure functions on tensors that the networks are made of.

Shapes: N batch, C channels, H W pixels; x_NCHW activations, w_OIKK convolution weights.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LEAK = 0.2
LRELU_GAIN = math.sqrt(2.0)
STDDEV_EPS = 1e-8


def pixel_norm(x: Tensor, eps: float) -> Tensor:
    """b = a / sqrt(mean over channels of a^2 + eps) (sec. 4.2); (N, C, ...), any dtype, float32 inside."""
    squares = x.float().square().mean(dim=1, keepdim=True) if x.dtype != torch.float32 else None
    if squares is None:
        # One pass over memory instead of two: a vector norm along the channels.
        squares = torch.linalg.vector_norm(x, dim=1, keepdim=True).square() / x.shape[1]
    return x * torch.rsqrt(squares + eps).to(x.dtype)


def up2(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def down2(x: Tensor) -> Tensor:
    """Mean of 2x2 pixels: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return F.avg_pool2d(x, 2)


def split_lod(lod: float, final: int) -> tuple[int, float | None]:
    """Present resolution, and how much of the coarser path is seen: lod's fractional part, None if it has none."""
    whole = math.floor(lod)
    return final >> whole, None if lod == whole else lod - whole


def fade(fine: Tensor, coarse: Tensor, amount: float | Tensor) -> Tensor:
    """fine where amount is 0, coarse where it is 1 (fig. 2)."""
    if isinstance(amount, Tensor):
        # lerp would want the amount in the dtype of the images, which may be too coarse for it.
        return fine + (coarse - fine) * amount
    return torch.lerp(fine, coarse, amount)


def fade_images(images: Tensor, amount: float) -> Tensor:
    """Real images seen while a resolution fades in: lerp(x, up2(down2(x)), amount); (N, C, H, W) float."""
    return images if amount == 0.0 else fade(images, up2(down2(images)), amount)


def spread_kernel(w_OIKK: Tensor, factor: float = 1.0, *, flipped: bool = False) -> Tensor:
    """Sum of four shifted copies of 3x3 kernels, flipped before if so asked, times factor: -> (O, I, 4, 4).

    One product with a 9x16 matrix, so that neither it nor its gradient goes over memory once per copy.
    """
    line = w_OIKK.new_tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    spread = (line[:, None, :, None] * line[None, :, None, :]).reshape(9, 16) * factor
    flat = w_OIKK.reshape(-1, 9) @ (spread.flip(0) if flipped else spread)
    return flat.reshape(*w_OIKK.shape[:2], 4, 4)


def up_kernel(w_OIKK: Tensor, factor: float = 1.0) -> Tensor:
    """Kernel by which one stride-2 transposed convolution equals up2 and then a 3x3 convolution: (I, O, 4, 4)."""
    return spread_kernel(w_OIKK, factor, flipped=True).transpose(0, 1)


def down_kernel(w_OIKK: Tensor, factor: float = 1.0) -> Tensor:
    """Kernel by which one stride-2 convolution equals a 3x3 convolution and then down2: (O, I, 4, 4)."""
    return spread_kernel(w_OIKK, factor * 0.25)


def group_size(limit: int, batch: int) -> int:
    """Images per group of the minibatch stddev: the largest divisor of the batch that is at most `limit`."""
    return max(size for size in range(1, min(limit, batch) + 1) if batch % size == 0)


def group_stddev(x_GMCHW: Tensor) -> Tensor:
    """Mean over features and pixels of the stddev over each group: (groups, M, C, H, W) -> (groups,) float32."""
    x = x_GMCHW.float()
    variance = (x - x.mean(dim=1, keepdim=True)).square().mean(dim=1)
    return (variance + STDDEV_EPS).sqrt().mean(dim=(1, 2, 3))


def append_map(x: Tensor, scalars: Tensor) -> Tensor:
    """One more feature map with a value per sample: (N, C, H, W) and (N,) -> (N, C + 1, H, W)."""
    plane = scalars.to(x.dtype)[:, None, None, None].expand(-1, 1, x.shape[2], x.shape[3])
    return torch.cat([x, plane], dim=1)


def closeness(own: Tensor, others: Tensor) -> Tensor:
    """Closeness of samples to all others (Salimans et al. 2016, sec. 3.2, o(x_i)_b).

    own (N, B, D), others (M, B, D), which has own among them -> (N, B): sum over j of exp(-|own_i,b - others_j,b|_1),
    the sample itself left out.
    """
    distances = (own[:, None] - others[None]).abs().sum(dim=3)
    return torch.exp(-distances).sum(dim=1) - 1.0


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Normalise every sample over C, H, W, then gain and bias per channel (Ba et al. 2016)."""
    normed = F.layer_norm(x.float(), x.shape[1:])
    return (normed * gain[:, None, None] + bias[:, None, None]).to(x.dtype)
