"""Options of every command that runs a feature network, gathered into a FeatureConfig."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from metrics.cli.common import emit, n_option, progress_bar, res_option, resizer_option, seed_option

if TYPE_CHECKING:
    from metrics.feature_inputs import FeatureConfig, ProgressFor

P = ParamSpec("P")
R = TypeVar("R")

MAX_WORKERS = 8
"""Threads that read ahead; each may hold a batch of images."""

_OPTIONS = (
    click.option(
        "--extractor",
        default="inception-2015",
        show_default=True,
        help="Network: inception-2015, onnx:PATH, or tiny (for tests; its numbers are no published ones).",
    ),
    click.option(
        "--weights",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Weights of inception-2015. [default: the published file, from METRICS_WEIGHTS or the cache]",
    ),
    click.option("--no-download", is_flag=True, help="Do not fetch missing weights."),
    click.option(
        "--resize",
        type=click.Choice(["legacy-tensorflow", "clean"]),
        help="How images get to the network's input size. [default: legacy-tensorflow]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="bf16: faster on CPUs that have it; shifts values slightly.",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--input-range", metavar="LOW:HIGH", help="Scale of an ONNX float input. [default: 0:255]"),
    click.option("--layer", help="Layer the metric is computed from. [default: the network's own]"),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        help="Images per forward pass; changes features by rounding only. [default: 16]",
    ),
    res_option,
    resizer_option,
    n_option("Random images used of each set. [default: all]"),
    click.option("--n-real", type=click.IntRange(min=1), help="Random images of REAL, over --n."),
    seed_option,
    click.option(
        "--jobs",
        type=click.IntRange(min=1),
        help="Threads; changes features by rounding at most. [default: the cores there are]",
    ),
)


def feature_options(
    function: Callable[Concatenate["FeatureConfig", P], R],
) -> Callable[..., R]:
    """Give a command the network's options; it gets one FeatureConfig as its first argument.

    The heavy libraries are imported when the command runs.
    """

    @functools.wraps(function)
    def wrapped(
        *args: Any,
        extractor: str,
        weights: Path | None,
        no_download: bool,
        resize: Any,
        precision: Any,
        device: str,
        input_range: str | None,
        layer: str | None,
        batch: int | None,
        res: int | None,
        resizer: str | None,
        n: int | None,
        n_real: int | None,
        seed: int,
        jobs: int | None,
        **rest: Any,
    ) -> R:
        from metrics.feature_inputs import FeatureConfig
        from metrics.features import DEFAULT_BATCH
        from metrics.threads import available_cores

        threads = jobs or available_cores()
        config = FeatureConfig(
            extractor=extractor,
            weights=weights,
            resize=resize,
            precision=precision,
            device=device,
            input_range=input_range,
            layer=layer,
            batch=batch or DEFAULT_BATCH,
            workers=min(threads, MAX_WORKERS),
            threads=threads,
            res=res,
            resizer=resizer,
            n=n,
            n_real=n_real,
            seed=seed,
            download=not no_download,
        )
        return function(config, *args, **rest)

    decorated: Callable[..., R] = wrapped
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def show_plan(
    metric: str,
    paths: Mapping[str, str],
    config: "FeatureConfig",
    *,
    needs: Sequence[str],
    as_json: bool,
    layers: Sequence[str] | None = None,
    statistics: bool = False,
    check: Callable[[Mapping[str, int]], None] | None = None,
) -> None:
    """What `--dry-run` prints."""
    from metrics.feature_plan import plan_features, plan_text

    plain = plan_features(metric, paths, config, needs=needs, layers=layers, statistics=statistics, check=check)
    emit(plain, plan_text(plain), as_json=as_json)


@contextmanager
def progress_bars(*, quiet: bool) -> Iterator["ProgressFor"]:
    """One bar after the other, each with its label."""
    with ExitStack() as stack:

        def progress_for(label: str) -> Callable[[int, int], None]:
            shown: list[Callable[[int, int], None]] = []

            def progress(done: int, total: int) -> None:
                if not shown:
                    stack.close()
                    shown.append(stack.enter_context(progress_bar(label, quiet=quiet)))
                shown[0](done, total)

            return progress

        yield progress_for
