"""How good a network is on photographs it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from PIL import Image

from celebahq_tools.restore.measure import MS_SSIM_MIN_SIDE, ms_ssim, psnr
from celebahq_tools.restore.networks import RestoreNetwork, TaskName
from celebahq_tools.restore.training.batches import to_tensor
from celebahq_tools.restore.training.degrade import SCALE, jpeg, shrink4
from celebahq_tools.restore.training.photos import Photo, Pixels

QUALITIES = (10, 30, 50, 75)
JOINT_QUALITY = 75
VALIDATION_EDGE = 384

Restore = Callable[[Pixels], Pixels]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Means over the pictures: of the restored picture, and what it gains over the plain one (dB, and MS-SSIM).

    case     how the pictures were damaged: `q10` ... or `bicubic`, `bicubic-q75`
    ms_ssim  None where pictures are too small for it
    """

    case: str
    psnr: float
    psnr_gain: float
    ms_ssim: float | None
    ms_ssim_gain: float | None


def cases(task: TaskName) -> tuple[str, ...]:
    """The damages a task is judged on."""
    if task == "jpeg":
        return tuple(f"q{quality}" for quality in QUALITIES)
    return ("bicubic", f"bicubic-q{JOINT_QUALITY}") if task == "joint" else ("bicubic",)


def damaged(pixels: Pixels, case: str) -> Pixels:
    """The picture as the network gets it: compressed 4:2:0, or shrunk four times, or both."""
    kernel, _, quality = case.rpartition("q")
    if kernel == "" and quality.isdigit():
        return jpeg(pixels, int(quality))
    small = shrink4(pixels, "bicubic")
    return jpeg(small, int(quality)) if quality.isdigit() else small


def plain(pixels: Pixels, scale: int) -> Pixels:
    """What there is without a network: the picture, or its bicubic enlargement."""
    if scale == 1:
        return pixels
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.BICUBIC))


def centre(pixels: Pixels, edge: int, multiple: int) -> Pixels:
    """The middle of a picture, at most `edge` pixels a side and a multiple of `multiple`."""
    height, width = (min(side, edge) // multiple * multiple for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def score(photos: Sequence[Pixels], task: TaskName, scale: int, restore: Restore) -> list[Score]:
    """The scores of a function that restores, one for each case; the pictures' sides are multiples of 4."""
    scores = []
    for case in cases(task):
        rows: list[tuple[float, float, float | None, float | None]] = []
        for original in photos:
            poor = damaged(original, case)
            before, after = plain(poor, scale), restore(poor)
            small = min(original.shape[:2]) < MS_SSIM_MIN_SIDE
            rows.append(
                (
                    psnr(after, original),
                    psnr(before, original),
                    None if small else ms_ssim(after, original),
                    None if small else ms_ssim(before, original),
                )
            )
        similar = [(a, b) for _, _, a, b in rows if a is not None and b is not None]
        scores.append(
            Score(
                case=case,
                psnr=fmean(row[0] for row in rows),
                psnr_gain=fmean(row[0] - row[1] for row in rows),
                ms_ssim=fmean(a for a, _ in similar) if similar else None,
                ms_ssim_gain=fmean(a - b for a, b in similar) if similar else None,
            )
        )
    return scores


def score_network(network: RestoreNetwork, task: TaskName, photos: Sequence[Photo]) -> list[Score]:
    """The scores of a network on the middles of the photographs, float32."""
    config = network.config
    multiple = max(config.grid * config.scale, SCALE)
    device = network.first.weight.device

    def restore(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            result = network(to_tensor([pixels]).to(device))[0].cpu().clamp(0, 1).mul(255).round()
        restored: Pixels = result.permute(1, 2, 0).to(torch.uint8).numpy()
        return restored

    return score([centre(p.pixels, VALIDATION_EDGE, multiple) for p in photos], task, config.scale, restore)
