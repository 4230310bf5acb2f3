"""Metrics of stored generators against their training set, in this process or in one of its own.

    python -m pgan.evaluate RUN/networks/000030.safetensors --data FILE.h5 --run RUN --metrics swd,ms-ssim --n 8192

All draws are keyed by the seed; no global random state is read or written.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

import metrics
from metrics.errors import MetricsError, WeightsError
from metrics.protocol import Result, write_json
from metrics.sliced.cache import StatisticsCache, default_cache
from metrics.sources import ImageSet, open_image_set
from pgan.config import METRICS
from pgan.drawn import drawn
from pgan.errors import ConfigError, PganError, RunError
from pgan.generate import NETWORKS, StoredGenerator, read_generator
from pgan.image_set import PYRAMID, GeneratorSet
from pgan.measure import SKIPPED
from pgan.mirrored import MirroredSet

METRICS_FOLDER = "metrics"
FEATURE_METRICS = ("fid", "is")
DEFAULT_EXTRACTOR = "inception-2015"
LEAST_IMAGES = 2

Progress = Callable[[int, int], None]
Skipped = Callable[[str, str], None]
"""Called as skipped(metric, reason) for a metric that cannot be measured here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """What is measured.

    metrics    of pgan.config.METRICS
    n          images per set; None: 16,384, or all of the data if fewer
    res        side in pixels, a level of the data, at most the generator's; None: that one
    mirror     measure against the data as training mirrors it
    seed       of the samples and of the metrics' own draws
    extractor  feature network of FID and IS
    floor      also measure reals against reals, where a metric has that
    """

    metrics: tuple[str, ...] = ("swd", "ms-ssim")
    n: int | None = None
    res: int | None = None
    mirror: bool = False
    seed: int = 0
    extractor: str = DEFAULT_EXTRACTOR
    floor: bool = True

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ConfigError(
                f"metrics are {', '.join(self.metrics) or '(none)'}; name some of {', '.join(METRICS)}, each once"
            )
        if self.n is not None and self.n < LEAST_IMAGES:
            raise ConfigError(f"n is {self.n}, expected {LEAST_IMAGES} or more images")


def evaluate_generator(
    generator_path: Path,
    data: Path,
    *,
    metrics: Sequence[str] = ("swd", "ms-ssim"),
    n: int | None = None,
    res: int | None = None,
    mirror: bool = False,
    seed: int = 0,
    cache: StatisticsCache | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    skipped: Skipped | None = None,
    device: str = "cpu",
) -> dict[str, Result]:
    """Results by metric of the generator at `generator_path` against the pyramid `data`; see EvaluationConfig.

    cache     keeps the statistics of the data between calls
    jobs      threads; does not change the results
    skipped   told which metrics cannot be measured and why (no weights of the feature network)
    """
    config = EvaluationConfig(metrics=tuple(metrics), n=n, res=res, mirror=mirror, seed=seed)
    generator = read_generator(generator_path, device)
    with open_sets(generator, data, config) as (real, fake):
        return measure(real, fake, config, cache=cache, jobs=jobs, progress=progress, skipped=skipped)


@contextmanager
def open_sets(generator: StoredGenerator, data: Path, config: EvaluationConfig) -> Iterator[tuple[ImageSet, ImageSet]]:
    """The real set as training sees it and as many samples as are measured.

    Raises ConfigError for more pixels than the generator makes, ImageSetError when the data lack the level or have
    fewer images than asked for.
    """
    final = generator.config.network.res
    res = config.res or final
    if res > final:
        raise ConfigError(f"{generator.path} makes {final}x{final} images, which cannot be measured at {res}")
    with open_image_set(data, res=res) as opened:
        real = MirroredSet(opened) if config.mirror else opened
        count = min(real.n, metrics_default(config)) if config.n is None else real.first(config.n).n
        # Samples are reduced as the levels of the data were.
        resizer = None if res == final else PYRAMID
        yield real, GeneratorSet(generator, res=res, resizer=resizer, seed=config.seed, n=count)


def metrics_default(config: EvaluationConfig) -> int:
    """Images per set when nobody says how many: the paper's number for SWD, 50,000 where features are compared."""
    return 50_000 if set(config.metrics) & set(FEATURE_METRICS) else 16_384


def measure(
    real: ImageSet,
    fake: ImageSet,
    config: EvaluationConfig,
    *,
    cache: StatisticsCache | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    skipped: Skipped | None = None,
) -> dict[str, Result]:
    """Results by metric, in the order of the configuration. Every sample is drawn once and shared."""
    done: dict[str, Result] = {}
    with ExitStack() as stack:
        samples = stack.enter_context(drawn(fake, progress))
        if "swd" in config.metrics:
            done["swd"] = _swd(real, samples, config, cache, jobs)
        if "ms-ssim" in config.metrics:
            even = samples.n - samples.n % 2
            done["ms-ssim"] = metrics.ms_ssim(samples, n=even, seed=config.seed, jobs=jobs)
        wanted = tuple(name for name in config.metrics if name in FEATURE_METRICS)
        if wanted:
            try:
                done.update(_features(wanted, real, samples, config, jobs))
            except WeightsError as error:
                for name in wanted:
                    if skipped is not None:
                        skipped(name, str(error))
    return {name: done[name] for name in config.metrics if name in done}


def _swd(
    real: ImageSet, samples: ImageSet, config: EvaluationConfig, cache: StatisticsCache | None, jobs: int
) -> Result:
    from metrics.sliced.config import SwdConfig

    settings = SwdConfig(seed=config.seed)
    return metrics.swd(real, samples, n=samples.n, config=settings, floor=config.floor, cache=cache, jobs=jobs)


def _features(
    names: tuple[str, ...], real: ImageSet, samples: ImageSet, config: EvaluationConfig, jobs: int
) -> dict[str, Result]:
    from metrics.feature_inputs import FeatureConfig
    from metrics.one_pass import AllConfig, measure_all

    features = FeatureConfig(
        extractor=config.extractor, n=samples.n, seed=config.seed, download=False, threads=jobs, workers=1
    )
    chosen = AllConfig(features=features, metrics=names, floor=config.floor, jobs=jobs)
    return {result.metric: result for result in measure_all(real, samples, chosen)}


def result_path(run: Path, kimg: int, metric: str) -> Path:
    """Where a run keeps the result of a metric."""
    return run / METRICS_FOLDER / f"{kimg:06d}-{metric}.json"


def kimg_of(generator: StoredGenerator) -> int:
    """Thousands of images shown: as the name says, if it is a file of RUN/networks, else from what the file holds."""
    stem = generator.path.stem
    return int(stem) if stem.isdecimal() and generator.path.parent.name == NETWORKS else generator.nimg // 1000


def write_results(run: Path, kimg: int, results: Mapping[str, Result]) -> dict[str, float]:
    """Store results as RUN/metrics/KIMG-METRIC.json; returns `result_values` of them."""
    try:
        (run / METRICS_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {run / METRICS_FOLDER} ({error.strerror})") from None
    for name, result in results.items():
        write_json(result.to_json(), result_path(run, kimg, name))
    return result_values(results)


def result_values(results: Mapping[str, Result]) -> dict[str, float]:
    """{'swd': ..., 'swd/32': ..., 'ms-ssim': ...}: the value of each metric, and of its levels."""
    values: dict[str, float] = {}
    for name, result in results.items():
        values[name] = result.value
        for level, value in (result.levels or {}).items():
            values[f"{name}/{level}"] = value
    return values


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one network of a run and store the results in it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pgan.evaluate", description="Measure one network of a run.")
    parser.add_argument("network", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--metrics", default="swd,ms-ssim")
    parser.add_argument("--n", type=int)
    parser.add_argument("--res", type=int)
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    # Training goes on beside it.
    torch.set_num_threads(chosen.jobs)
    try:
        results = evaluate_generator(
            chosen.network,
            chosen.data,
            metrics=tuple(chosen.metrics.split(",")),
            n=chosen.n,
            res=chosen.res,
            mirror=chosen.mirror,
            seed=chosen.seed,
            cache=default_cache(),
            jobs=chosen.jobs,
            skipped=lambda name, reason: _tell(f"{name}{SKIPPED}{reason}"),
            device=chosen.device,
        )
        write_results(chosen.run, kimg_of(read_generator(chosen.network)), results)
    except (PganError, MetricsError) as error:
        _tell(f"error: {error}")
        return error.exit_code
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
