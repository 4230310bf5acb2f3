"""Gather everything a report says; what is drawn and how it is written out is decided elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from metrics.errors import ImageSetError, UsageError
from metrics.report.bench import BenchmarkTable, benchmark_tables
from metrics.report.curves import Curve, score_curves, training_curves
from metrics.report.dataset import DatasetCard, dataset_card
from metrics.report.effort import Effort, effort_of
from metrics.report.grids import Gallery, gallery_of, generated_samples
from metrics.report.inputs import BenchmarkRecord, Inputs, read_inputs
from metrics.report.levels import LevelView, level_views
from metrics.report.look import AUTO, Lookalikes, chosen_extractor, lookalikes, search_res
from metrics.report.published import Published, published
from metrics.report.runs import Run
from metrics.report.scores import ScoreGroup, group_scores

EXTRACTORS = (AUTO, "tiny", "inception-2015")
LEVEL_IMAGES = 4
DEFAULT_TITLE = "Benchmark report"

ProgressFor = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """What goes into a report.

    paths      run directories, result files, folders of results, benchmark records
    data       pyramid of the training set; None: the one the first run names, if it is there
    baseline   folder or file of benchmark records that ratios are taken to
    snapshots  grids shown per run at most
    samples    generated images whose neighbours are looked for; 0: none
    search     training images searched; None: all
    extractor  'tiny', 'inception-2015', or 'auto': the latter if its weights are in the cache
    pictures   whether pictures are wanted at all
    """

    paths: tuple[Path, ...]
    data: Path | None = None
    baseline: Path | None = None
    title: str = DEFAULT_TITLE
    snapshots: int = 20
    samples: int = 8
    search: int | None = None
    extractor: str = AUTO
    seed: int = 0
    pictures: bool = True

    def __post_init__(self) -> None:
        if not self.paths and self.data is None:
            raise UsageError("name run directories, result files or --data; there is nothing to report on")
        if self.extractor not in EXTRACTORS:
            raise UsageError(f"extractor {self.extractor!r} is unknown here; choose one of {', '.join(EXTRACTORS)}")
        for name, least in (("snapshots", 1), ("samples", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}, expected {least} or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that was found. `missing` says what is not shown and why, `sources` (file, sha256) what was read."""

    title: str
    made: str
    program: str
    groups: tuple[ScoreGroup, ...]
    curves: tuple[tuple[str, tuple[Curve, ...]], ...]
    training: tuple[Curve, ...]
    runs: tuple[Run, ...]
    efforts: tuple[Effort, ...]
    galleries: tuple[Gallery, ...]
    neighbours: tuple[Lookalikes, ...]
    levels: tuple[tuple[str, tuple[LevelView, ...]], ...]
    data: DatasetCard | None
    benchmarks: tuple[BenchmarkTable, ...]
    published: tuple[Published, ...]
    missing: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]


def build_report(config: ReportConfig, *, progress_for: ProgressFor | None = None) -> Report:
    """Read everything `config` names.

    Raises ReportError for files that are damaged or none, and what reading the data set raises.
    """
    import metrics

    inputs = read_inputs(config.paths)
    runs = inputs.runs
    missing: list[str] = []
    groups = group_scores(inputs.results, runs)
    data_path = config.data or _data_of(runs, missing)
    card = None if data_path is None else dataset_card(data_path, pictures=config.pictures, seed=config.seed)
    if card is not None:
        missing += _other_data(runs, card)
    galleries: list[Gallery] = []
    neighbours: list[Lookalikes] = []
    levels: list[tuple[str, tuple[LevelView, ...]]] = []
    if config.pictures:
        for run in runs:
            gallery = gallery_of(run, snapshots=config.snapshots, runs=len(runs))
            if gallery is None:
                missing.append(f"{run.name} has no pictures (fakes*.png, reals.png)")
            else:
                galleries.append(gallery)
            if gallery is not None and gallery.interpolation is None:
                missing.append(f"{run.name} has no interpolation.png: no walk between latents is shown")
            if config.samples:
                _look(run, data_path, config, neighbours, levels, missing, progress_for)
    named = frozenset(group.metric for group in groups)
    return Report(
        title=config.title,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        program=f"metrics {metrics.__version__}",
        groups=groups,
        curves=tuple((group.name, tuple(score_curves(group, runs))) for group in groups),
        training=tuple(training_curves(runs)),
        runs=runs,
        efforts=tuple(effort_of(run) for run in runs),
        galleries=tuple(galleries),
        neighbours=tuple(neighbours),
        levels=tuple(levels),
        data=card,
        benchmarks=benchmark_tables(inputs.benchmarks, _baselines(config.baseline)),
        published=published(named) if named else (),
        missing=tuple(missing),
        sources=_sources(inputs),
    )


def _data_of(runs: Sequence[Run], missing: list[str]) -> Path | None:
    """The training set the runs name, where it is still there."""
    paths = [Path(str(run.data["path"])) for run in runs if run.data.get("path")]
    for path in paths:
        if path.is_file() and path.suffix in (".h5", ".hdf5"):
            return path
    if runs:
        missing.append("the training set is not there (name it with --data): no data card, no neighbours, no levels")
    return None


def _other_data(runs: Sequence[Run], card: DatasetCard) -> list[str]:
    return [
        f"{run.name} was trained on other data ({run.data['fingerprint']}) than {card.path} ({card.fingerprint}): "
        "its neighbours are looked for in the latter all the same"
        for run in runs
        if run.data.get("fingerprint") not in (None, card.fingerprint)
    ]


def _look(
    run: Run,
    data: Path | None,
    config: ReportConfig,
    neighbours: list[Lookalikes],
    levels: list[tuple[str, tuple[LevelView, ...]]],
    missing: list[str],
    progress_for: ProgressFor | None,
) -> None:
    """Neighbours and levels of one run's samples."""
    from metrics.sources import open_image_set

    if data is None:
        return
    try:
        found = generated_samples(run, config.samples)
    except ImageSetError as error:
        missing.append(f"no samples of {run.name}: {error}")
        return
    if found is None:
        missing.append(f"{run.name} has no samples/ and no grid that can be cut apart: no neighbours, no levels")
        return
    fakes, origin = found
    extractor = chosen_extractor(config.extractor)
    progress = None if progress_for is None else progress_for(f"neighbours of {run.name}")
    try:
        with open_image_set(data) as finest:
            res = min(finest.res, fakes.shape[-1])
        with open_image_set(data, res=search_res(extractor, res)) as reals:
            neighbours.append(
                lookalikes(
                    run.name,
                    fakes,
                    origin,
                    reals,
                    extractor=extractor,
                    search=config.search,
                    seed=config.seed,
                    progress=progress,
                )
            )
        with open_image_set(data, res=res) as reals:
            views = level_views(reals.read(range(min(LEVEL_IMAGES, reals.n))), fakes[:LEVEL_IMAGES], seed=config.seed)
    except ImageSetError as error:
        missing.append(f"no neighbours or levels for {run.name}: {error}")
        return
    if views:
        levels.append((run.name, views))
    else:
        missing.append(f"images of {run.name} are no power of two of 16 pixels or more: no levels of SWD")


def _baselines(path: Path | None) -> list[BenchmarkRecord]:
    return [] if path is None else list(read_inputs([path]).benchmarks)


def _sources(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    found = [file for run in inputs.runs for file in run.files]
    found += [(result.file, result.sha256) for result in inputs.results]
    found += [(record.file, record.sha256) for record in inputs.benchmarks]
    return tuple(dict.fromkeys(found))
