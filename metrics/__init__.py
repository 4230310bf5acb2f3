"""Metrics for generative image models, each with its protocol and noise floor.

    import metrics
    result = metrics.swd("reals.h5", "fakes/", res=256, resizer="lanczos")
    print(result.value, result.interval, result.noise_floor)

Importing the package is light; what a metric needs is imported when it is called.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from metrics.protocol import Result
    from metrics.sliced.cache import StatisticsCache
    from metrics.sliced.config import SwdConfig
    from metrics.sources import ImageSet

    Images: TypeAlias = ImageSet | str | Path | NDArray[np.uint8]
    Progress: TypeAlias = Callable[[int, int], None]

__version__ = "0.1.0"


def swd(
    real: "Images",
    fake: "Images | None" = None,
    *,
    n: int | None = None,
    res: int | None = None,
    resizer: str | None = None,
    config: "SwdConfig | None" = None,
    floor: bool = True,
    jobs: int = 1,
    spill: Path | None = None,
    cache: "StatisticsCache | None" = None,
    dask: str | None = None,
    progress: "Progress | None" = None,
) -> "Result":
    """Sliced Wasserstein distance (Karras et al. 2018, sec. 5) of two image sets, times 1e3.

    real, fake  paths, ImageSets or (N, 3, R, R) uint8 arrays; without `fake` the noise floor of `real`
    n           images per set; None: 16,384 as in the paper, or all if fewer
    res         side to measure at, a power of two >= 16; `resizer` names how images get there
    config      parameters; None: the paper's, float64 moments, seed 0
    floor       also measure reals against disjoint reals
    jobs        threads; does not change the result
    spill       folder for temporary descriptors that do not fit in memory
    cache       keeps the reals' statistics, see `metrics.sliced.cache.default_cache`
    dask        address of a Dask scheduler whose workers compute the descriptors

    Raises ImageSetError, UsageError and the other errors of `metrics.errors`.
    """
    from contextlib import ExitStack

    from metrics.sliced.config import SwdConfig
    from metrics.sliced.measure import measure_swd
    from metrics.sliced.plan import plan_swd
    from metrics.sources import ImageSet, as_image_set

    with ExitStack() as stack:
        opened = []
        for source in (real,) if fake is None else (real, fake):
            images = as_image_set(source, res=res, resizer=resizer)
            opened.append(images if isinstance(source, ImageSet) else stack.enter_context(images))
        other = opened[1] if fake is not None else None
        plan = plan_swd(opened[0], other, config=config or SwdConfig(), n=n, floor=floor)
        return measure_swd(opened[0], other, plan, jobs=jobs, spill=spill, cache=cache, dask=dask, progress=progress)


def ms_ssim(
    images: "Images",
    *,
    n: int | None = None,
    res: int | None = None,
    resizer: str | None = None,
    pairs: str = "random",
    seed: int = 0,
    jobs: int = 1,
    progress: "Progress | None" = None,
) -> "Result":
    """Mean multi-scale SSIM (Wang et al. 2003) of disjoint pairs of one set; lower is more varied.

    images  path, ImageSet or (N, 3, R, R) uint8 array
    n       images used, even; None: 20,000 (10,000 pairs) as in the paper, or all if fewer
    pairs   'random' (seeded) or 'adjacent' (images 2i and 2i + 1 as they lie)

    Raises ImageSetError, UsageError and the other errors of `metrics.errors`.
    """
    from metrics.msssim.measure import measure_ms_ssim
    from metrics.sources import ImageSet, as_image_set

    opened = as_image_set(images, res=res, resizer=resizer)
    try:
        return measure_ms_ssim(opened, n=n, pairs=pairs, seed=seed, jobs=jobs, progress=progress)
    finally:
        if not isinstance(images, ImageSet):
            opened.close()
