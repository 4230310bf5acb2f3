"""The discrete mode test: how many of the 1000 modes of stacked digits a generator makes.

Karras et al. 2018, appendix E, after Metz et al. 2017. A small classifier reads each channel of a sample as a digit; a sample's mode is its three digits.
Shapes: images (N, 3, 32, 32) uint8, digits (N, 32, 32) uint8, triples (N, 3) int64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pgan.draws import ORDER, WEIGHTS, numpy_generator, torch_generator
from pgan.errors import CheckpointError, DataError
from pgan.mnist_data import CLASSES, COLOURS, SIDE, Digits
from pgan.networks.layers import BatchNorm, Conv, Dense
from pgan.snapshots import Snapshot, read_snapshot, write_snapshot

MODES = CLASSES**COLOURS
SAMPLES = 25_600
EVALUATIONS = 10

CLASSIFIER = "digit-classifier"
CLASSIFIER_PURPOSE = 2  # of its weights among all drawn from a seed; 0 and 1 are G and D
MAPS = (16, 32, 64)
UNITS = 128
POOLED = SIDE >> len(MAPS)
MAX_SHIFT = 2
HELD_OUT = 6
"""One in so many digits tests the classifier where the source has no test digits."""

Progress = Callable[[int, int], None]
Sampler = Callable[[int, list[int]], NDArray[np.uint8]]
"""(seed, numbers) -> the numbered samples of that seed, (n, 3, 32, 32) uint8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierTraining:
    """How the classifier is trained: Adam, one cycle of the learning rate, random shifts of up to two pixels."""

    seed: int = 0
    epochs: int = 3
    batch: int = 128
    peak_lr: float = 4e-3

    def __post_init__(self) -> None:
        if self.seed < 0 or self.epochs < 1 or self.batch < 2 or self.peak_lr <= 0:
            raise DataError(f"{self}: expected seed >= 0, epochs >= 1, batch >= 2, peak_lr > 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModeScore:
    """The result of the test.

    modes, kl   of every evaluation: modes hit of 1000, KL divergence from the uniform distribution in nats
    samples     per evaluation
    """

    samples: int
    modes: tuple[int, ...]
    kl: tuple[float, ...]

    @property
    def modes_mean(self) -> float:
        """Mean number of modes."""
        return float(np.mean(self.modes))

    @property
    def modes_std(self) -> float:
        """Its standard deviation over the evaluations (ddof 1), 0 for a single one."""
        return _std(self.modes)

    @property
    def kl_mean(self) -> float:
        """Mean KL divergence, nats."""
        return float(np.mean(self.kl))

    @property
    def kl_std(self) -> float:
        """Its standard deviation over the evaluations (ddof 1), 0 for a single one."""
        return _std(self.kl)


def _std(values: tuple[int, ...] | tuple[float, ...]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def count_modes(triples: NDArray[np.int64]) -> tuple[int, float]:
    """(N, 3) digits -> how many of the 1000 modes occur, and KL(model || uniform) = sum p log(1000 p) over them, nats.

    Raises ValueError for another shape, none at all, or values outside 0 ... 9.
    """
    if triples.ndim != 2 or triples.shape[1] != COLOURS or not len(triples):
        raise ValueError(f"triples of shape {triples.shape}, expected (N, {COLOURS}) with N >= 1")
    if triples.min() < 0 or triples.max() >= CLASSES:
        raise ValueError(f"triples from {triples.min()} to {triples.max()}, expected digits 0 to 9")
    counts = np.bincount(triples @ np.array([100, 10, 1]), minlength=MODES)
    p = counts[counts > 0] / len(triples)
    return len(p), float((p * np.log(p * MODES)).sum())


class DigitClassifier(nn.Module):
    """(N, 1, 32, 32) float32 in [0, 1] -> logits (N, 10)."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        maps_in = (1, *MAPS[:-1])
        self.convs = nn.ModuleList(
            Conv(before, after, 3, equalized=False, generator=generator)
            for before, after in zip(maps_in, MAPS, strict=True)
        )
        self.norms = nn.ModuleList(BatchNorm(maps) for maps in MAPS)
        self.dense0 = Dense(MAPS[-1] * POOLED**2, UNITS, equalized=False, generator=generator)
        self.dense1 = Dense(UNITS, CLASSES, equalized=False, generator=generator, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Three times convolution, half the size by the maximum, batch norm and ReLU; two dense layers."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(F.max_pool2d(conv(x, None, None, False), 2)))
        return self.dense1(F.relu(self.dense0(x.flatten(1), None)), None)  # type: ignore[no-any-return]

    @torch.no_grad()
    def digits(self, images: NDArray[np.uint8], batch: int = 1024) -> NDArray[np.int64]:
        """What each (32, 32) image of (N, 32, 32) uint8 shows: (N,) int64."""
        self.eval()
        device = self.dense1.weight.device
        found = [
            self(_network_input(images[start : start + batch]).to(device)).argmax(dim=1).cpu()
            for start in range(0, len(images), batch)
        ]
        result: NDArray[np.int64] = torch.cat(found).numpy()
        return result


def _network_input(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images))[:, None].float() / 255.0


def split_digits(digits: Digits, seed: int) -> tuple[Digits, Digits]:
    """Training and test part of digits that come without test digits: a random sixth is held out."""
    order = numpy_generator(seed, ORDER, -1).permutation(len(digits))
    held = len(digits) // HELD_OUT
    if not held:
        raise DataError(f"{len(digits)} digits, expected at least {HELD_OUT} to train and test a classifier")
    return digits.take(order[held:]), digits.take(order[:held])


def train_classifier(
    train: Digits, settings: ClassifierTraining, *, device: str = "cpu", progress: Progress | None = None
) -> DigitClassifier:
    """Train the classifier on single digits; the same seed gives the same weights. progress counts steps."""
    network = DigitClassifier(torch_generator(settings.seed, WEIGHTS, CLASSIFIER_PURPOSE)).to(device).train()
    batch = min(settings.batch, len(train))
    per_epoch = len(train) // batch
    total = settings.epochs * per_epoch
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.peak_lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.peak_lr, total_steps=total + 1)
    for step in range(total):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            draws = numpy_generator(settings.seed, ORDER, epoch)
            order = draws.permutation(len(train))
        chosen = order[place * batch : (place + 1) * batch]
        images = _shifted(train.images[chosen], draws)
        logits = network(_network_input(images).to(device))
        loss = F.cross_entropy(logits, torch.from_numpy(train.labels[chosen]).to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, total)
    return network.eval()


def _shifted(images: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Each digit moved by up to two pixels; the padding around MNIST's digits keeps them whole."""
    shifts = draws.integers(-MAX_SHIFT, MAX_SHIFT + 1, (len(images), 2))
    rows = (np.arange(SIDE)[None] - shifts[:, :1]) % SIDE
    columns = (np.arange(SIDE)[None] - shifts[:, 1:]) % SIDE
    moved: NDArray[np.uint8] = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def accuracy_of(network: DigitClassifier, digits: Digits) -> float:
    """Share of the digits it reads right."""
    return float((network.digits(digits.images) == digits.labels).mean())


def write_classifier(path: Path, network: DigitClassifier, *, accuracy: float) -> None:
    """Store a classifier and what it reached on digits it has not seen."""
    write_snapshot(path, Snapshot(kind=CLASSIFIER, meta={"accuracy": accuracy}, tensors=network.state_dict()))


def read_classifier(path: Path) -> tuple[DigitClassifier, float]:
    """A stored classifier and its accuracy. Raises CheckpointError for anything else."""
    snapshot = read_snapshot(path, kind=CLASSIFIER)
    network = DigitClassifier(torch_generator(0, WEIGHTS, CLASSIFIER_PURPOSE))
    try:
        network.load_state_dict(dict(snapshot.tensors))
        accuracy = float(snapshot.meta["accuracy"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no classifier of this version ({str(error).splitlines()[0]})") from None
    return network.eval(), accuracy


def triples_of(network: DigitClassifier, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The digit in each channel of (N, 3, 32, 32) uint8: (N, 3). Raises DataError for other images."""
    if images.ndim != 4 or images.shape[1:] != (COLOURS, SIDE, SIDE):
        raise DataError(
            f"images of shape {images.shape[1:]}, expected ({COLOURS}, {SIDE}, {SIDE}): the mode test needs a "
            "generator trained on stacked digits"
        )
    return network.digits(images.reshape(-1, SIDE, SIDE)).reshape(-1, COLOURS)


def score_modes(
    sampler: Sampler,
    network: DigitClassifier,
    *,
    samples: int = SAMPLES,
    evaluations: int = EVALUATIONS,
    seed: int = 0,
    batch: int = 256,
    progress: Progress | None = None,
) -> ModeScore:
    """Run the test: evaluation i takes the first `samples` samples of seed + i. progress counts samples.

    Raises DataError when the samples are no (3, 32, 32) images.
    """
    modes, divergences = [], []
    for evaluation in range(evaluations):
        triples = []
        for start in range(0, samples, batch):
            numbers = list(range(start, min(start + batch, samples)))
            triples.append(triples_of(network, sampler(seed + evaluation, numbers)))
            if progress is not None:
                progress(evaluation * samples + numbers[-1] + 1, evaluations * samples)
        hit, divergence = count_modes(np.concatenate(triples))
        modes.append(hit)
        divergences.append(divergence)
    return ModeScore(samples=samples, modes=tuple(modes), kl=tuple(divergences))
