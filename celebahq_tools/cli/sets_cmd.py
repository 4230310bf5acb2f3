"""`celebahq compare`, `split` and `dedup`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from celebahq_tools.cli.building import stage_bars
from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from celebahq_tools.formats.collection import Collection
    from celebahq_tools.pipeline.build import BuildSummary

GROUPS_SHOWN = 20

jobs_option = click.option("--jobs", "-j", type=click.IntRange(min=1), default=1, show_default=True, help="Workers.")


@click.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--unordered", is_flag=True, help="Only the content counts, not the order or the labels.")
@quiet_option
@json_option
@command_errors
def compare_cmd(a: Path, b: Path, unordered: bool, quiet: bool, as_json: bool) -> None:
    """Compare two data sets pixel by pixel: in their order, and by content whatever the order.

    Each may be in any format that is read: a pyramid, a folder, TFRecords, ... Exit code 1 if they differ.

    \b
    Example:
      celebahq compare celebahq.h5 tfrecords/celebahq/ --unordered
    """
    from celebahq_tools.formats.compare import compare_sets
    from celebahq_tools.formats.detect import open_any

    with progress_bar("compare", quiet=quiet) as progress:
        found = compare_sets(open_any(a), open_any(b), progress)
    same = found.same_content if unordered else found.same
    lines = [
        f"{found.images[0]:,} and {found.images[1]:,} images: "
        + ("the same" if found.same else "the same content" if found.same_content else "different"),
        f"in order: {found.equal:,} equal, {found.different:,} differ, by up to {found.max_difference} "
        f"(mean {found.mean_difference:.4f}); {found.labels_differ:,} classes differ",
        f"by content: {found.matched:,} matched, {found.only_a:,} only in the first, {found.only_b:,} only in the "
        f"second; repeated {found.repeated[0]:,} and {found.repeated[1]:,}",
        *(f"  {line}" for line in found.first),
    ]
    result = dataclasses.asdict(found) | {"same": found.same, "same_content": found.same_content}
    emit(result, "\n".join(lines), as_json=as_json)
    if not same:
        raise SystemExit(EXIT_FAILED)


@click.command("split")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--official", is_flag=True, help="By the partition in the index, or in --partition-file.")
@click.option("--partition-file", type=click.Path(path_type=Path), help="CelebA's list_eval_partition.txt.")
@click.option("--fractions", help="Such as train=0.8,test=0.2: at random.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--together",
    type=click.Choice(["none", "identity", "label"]),
    default="none",
    show_default=True,
    help="identity: a person's images stay in one part. label: every class has its share in each.",
)
@click.option("--to", type=click.Path(path_type=Path), help="Folder of the parts; default: beside FILE.")
@jobs_option
@click.option("--overwrite", is_flag=True, help="Replace parts that were made otherwise.")
@click.option("--dry-run", is_flag=True, help="Only count the images of each part.")
@quiet_option
@json_option
@command_errors
def split_cmd(
    file: Path,
    official: bool,
    partition_file: Path | None,
    fractions: str | None,
    seed: int,
    together: str,
    to: Path | None,
    jobs: int,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the parts of the pyramid FILE to pyramids of their own, FILE-train.h5, FILE-test.h5, ...

    A killed split goes on where it was when the same command is given again.

    \b
    Example:
      celebahq split celeba-128.h5 --official
      celebahq split celebahq.h5 --fractions train=0.9,test=0.1 --seed 1 --together identity
    """
    from typing import cast

    from celebahq_tools.formats.authors import open_hdf5
    from celebahq_tools.formats.split import Together, official_parts, random_parts

    if (official or partition_file is not None) == (fractions is not None):
        raise UsageError("give either --official (or --partition-file) or --fractions")
    collection = open_hdf5(file)
    if fractions is None:
        parts = official_parts(collection, partition_file)
    else:
        parts = random_parts(collection, _fractions(fractions), seed, cast(Together, together))
    made: dict[str, int] = {}
    for name, numbers in parts.items():
        out = (to or file.parent) / f"{file.stem}-{name}{file.suffix}"
        if not dry_run:
            _copy(collection, numbers, out, jobs, overwrite, quiet)
        made[str(out)] = len(numbers)
    text = "\n".join(f"{out}: {count:,} images" for out, count in made.items())
    emit({"parts": made, "dry_run": dry_run}, text, as_json=as_json)


@click.command("dedup")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--distance", type=int, default=6, show_default=True, help="Bits in which hashes of look-alikes differ.")
@click.option("--exact", is_flag=True, help="Only images with the same pixels.")
@click.option("--known", is_flag=True, help="List the duplicates of the official CelebA-HQ; needs no FILE.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a pyramid without the second and later ones.")
@jobs_option
@click.option("--overwrite", is_flag=True, help="Replace an --out that was made otherwise.")
@quiet_option
@json_option
@command_errors
def dedup_cmd(
    file: Path | None,
    distance: int,
    exact: bool,
    known: bool,
    out: Path | None,
    jobs: int,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find images of the pyramid FILE that are the same, or look the same.

    \b
    Example:
      celebahq dedup faces.h5 --out faces-unique.h5
      celebahq dedup --known
    """
    if known == (file is not None):
        raise UsageError("give a FILE, or --known alone")
    if file is None:
        _known(as_json)
        return
    import numpy as np

    from celebahq_tools.formats.authors import open_hdf5
    from celebahq_tools.formats.dedup import find_duplicates
    from celebahq_tools.store import PyramidReader

    with PyramidReader(file) as reader, progress_bar("dedup", quiet=quiet) as progress:
        found = find_duplicates(reader, distance=None if exact else distance, progress=progress)
        keys = reader.index.key
        lines = [f"{file}: {len(found.exact):,} groups of equal images, {len(found.alike):,} of look-alikes"]
        for what, groups in (("equal", found.exact), ("alike", found.alike)):
            lines += [f"  {what}: " + ", ".join(f"{n} ({keys[n]})" for n in group) for group in groups[:GROUPS_SHOWN]]
            if len(groups) > GROUPS_SHOWN:
                lines.append(f"  and {len(groups) - GROUPS_SHOWN:,} more; --json lists all")
        extra = found.superfluous()
        kept = np.setdiff1d(np.arange(len(reader)), extra).astype(np.int64)
    if out is not None:
        _copy(open_hdf5(file), kept, out, jobs, overwrite, quiet)
        lines.append(f"{out}: {len(kept):,} images, {len(extra):,} left out")
    result = {"exact": found.exact, "alike": found.alike, "superfluous": extra, "out": str(out) if out else None}
    emit(result, "\n".join(lines), as_json=as_json)


def _known(as_json: bool) -> None:
    from celebahq_tools.formats.dedup import known_duplicates
    from celebahq_tools.manifest import load_celebahq_index

    groups = known_duplicates(load_celebahq_index())
    words = {"proc_md5": "the same crop, before the delta", "final_md5": "the same final image"}
    lines: list[str] = []
    for name, found in groups.items():
        repeated = sum(len(group) - 1 for group in found)
        lines.append(f"{name}: {repeated} images of CelebA-HQ repeat an earlier one ({words[name]}):")
        lines += ["  idx " + ", ".join(map(str, group)) for group in found]
    emit(groups, "\n".join(lines), as_json=as_json)


def _fractions(text: str) -> dict[str, float]:
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not name.isidentifier() or name in fractions or not 0 < number <= 1:
            raise UsageError(f"--fractions: {part!r}: write such as train=0.8,test=0.2")
        fractions[name] = number
    return fractions


def _copy(
    collection: "Collection", numbers: "NDArray[np.int64]", out: Path, jobs: int, overwrite: bool, quiet: bool
) -> "BuildSummary":
    """Copy images of a pyramid to a new one, resumable as every build."""
    from celebahq_tools.config import BuildConfig, RunOptions
    from celebahq_tools.formats.job import collection_job, with_res
    from celebahq_tools.pipeline.build import build_pyramid
    from celebahq_tools.pipeline.paths import BuildPaths

    BuildPaths.beside(out)
    job = collection_job(collection, with_res(BuildConfig(recipe="images"), collection, None), numbers)
    with stage_bars(quiet) as progress:
        return build_pyramid(job, RunOptions(jobs=jobs, overwrite=overwrite), out, progress)
