"""Inception score (Salimans et al. 2016, sec. 4): exp of the mean KL divergence between p(y|x) and p(y)."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.errors import BatchError

Float64Array = NDArray[np.float64]

DEFAULT_SPLITS = 10
BLOCK_ROWS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class InceptionScore:
    """Mean and standard deviation over the splits, and the splits' own scores.

    mean    mean over the splits: the published number
    std     population standard deviation over the splits (ddof 0), as published beside it
    splits  (S,) float64, one score per split, between 1 and the number of classes
    """

    mean: float
    std: float
    splits: Float64Array


def inception_score(
    logits: NDArray[np.floating],
    *,
    splits: int = DEFAULT_SPLITS,
    rng: np.random.Generator | None = None,
) -> InceptionScore:
    """Inception score of (N, C) logits.

    The classic published numbers use logits without the bias term (`logits_unbiased`). With `rng` the images
    are shuffled before they are split, so that a folder sorted by class scores like a shuffled one; without
    it the splits are consecutive. Split s holds images s*N//S up to (s+1)*N//S.

    Raises BatchError for fewer images than splits, a wrong shape, NaN or infinity.
    """
    if logits.ndim != 2:
        raise BatchError(f"logits must be (N, C), found shape {logits.shape}")
    n = len(logits)
    if splits < 1:
        raise BatchError(f"at least one split is needed, found {splits}")
    if n < splits:
        raise BatchError(f"{splits} splits need at least {splits} images, found {n}")
    order = np.arange(n) if rng is None else rng.permutation(n)
    bounds = [split * n // splits for split in range(splits + 1)]
    scores = np.array([_split_score(logits, order[low:high]) for low, high in itertools.pairwise(bounds)])
    return InceptionScore(mean=float(scores.mean()), std=float(scores.std()), splits=scores)


def _split_score(logits: NDArray[np.floating], rows: NDArray[np.intp]) -> float:
    """exp(mean_x KL(p(y|x) || p(y))) = exp(H(mean p) - mean H(p)), float64, in blocks of bounded memory."""
    marginal = np.zeros(logits.shape[1])
    negative_entropy = 0.0
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        values = logits[block].astype(np.float64)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise BatchError(f"logits of image {int(block[np.argmin(finite)])} hold NaN or infinity")
        log_p = _log_softmax(values)
        p = np.exp(log_p)
        marginal += p.sum(axis=0)
        negative_entropy += float((p * log_p).sum())
    marginal /= len(rows)
    seen = marginal > 0
    marginal_term = float((marginal[seen] * np.log(marginal[seen])).sum())
    return float(np.exp(negative_entropy / len(rows) - marginal_term))


def _log_softmax(logits: Float64Array) -> Float64Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Float64Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
