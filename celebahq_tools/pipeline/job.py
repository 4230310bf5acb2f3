"""What a build is to work on: the files of a source, their annotations, and the networks and models it needs."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import MissingDependencyError, UsageError
from celebahq_tools.formats.collection import Entries
from celebahq_tools.names import printable
from celebahq_tools.pipeline.recipes import FileTask, RecipeSpec
from celebahq_tools.restore.base import PrecisionName, RestorerConfig, RestoreTask
from celebahq_tools.sources import Source

READ_BYTES = 1 << 20
IDS_SHOWN = 5
# The paper removes artifacts and enlarges.
BUILD_TASK: RestoreTask = "joint"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Input of a build.

    tasks    the files to survey, in the source's order
    entries  where nothing has to be surveyed: the items themselves, in slot order; may make them when asked
    stamps   what else decides pixels, digests of networks and models among it; JSON values
    notes    what a person should know before the build
    """

    spec: RecipeSpec
    tasks: tuple[FileTask, ...]
    attribute_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    vector_names: tuple[str, ...] = ()
    entries: Entries | None = None
    stamps: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> BuildConfig:
        """What is to be made."""
        return self.spec.config

    @property
    def digest(self) -> str:
        """Sha256 hex digest of everything that decides the result: config, source, networks and models."""
        stamps = json.dumps(self.stamps, sort_keys=True)
        return self.config.digest(self.spec.source_kind, self.spec.source_digest, stamps)


def restorer_at_hand(precision: PrecisionName) -> tuple[RestorerConfig, str]:
    """The restorer when none is asked for: Real-ESRGAN if its weights are there, else ours; and a note on it."""
    from celebahq_tools.restore import open_restorer

    config = RestorerConfig(name="realesrgan", precision=precision)
    try:
        stamp, advice = open_restorer(config).stamp(), ""
    except MissingDependencyError:
        config = RestorerConfig(name="ours", task=BUILD_TASK, precision=precision)
        stamp = open_restorer(config).stamp()
        advice = "; `celebahq weights get realesrgan` brings a sharper, slower network"
    return config, f"restoring with {stamp.name} {stamp.version}, {stamp.precision}{advice}"


def face_job(source: Source, config: BuildConfig, options: RunOptions, notes: tuple[str, ...] = ()) -> Job:
    """A job of the recipes `paper`, `plain` and `ffhq`.

    Raises MissingDependencyError when photographs need the landmark model or the restorer its weights and they
    are not there, UsageError for ids that are not in the source.
    """
    stamps: dict[str, Any] = {}
    model = None
    if source.kind == "photos" or config.recipe == "ffhq":
        from celebahq_tools.faces import find_landmarks_model

        model = find_landmarks_model(options.landmarks_model)
        stamps["landmarks_model_sha256"] = file_sha256(model)
    if config.recipe == "paper":
        from celebahq_tools.restore import open_restorer, settled_config

        config = dataclasses.replace(config, restorer=settled_config(config.restorer))
        stamps["restorer"] = dataclasses.asdict(open_restorer(config.restorer).stamp())
    files = choose_files(source.files, config, source.root)
    return Job(
        spec=RecipeSpec(
            config=config,
            source=source.root.absolute(),
            source_kind=source.kind,
            source_digest=source.manifest_sha256,
            reader=source.reader,
            landmarks_model=model,
        ),
        tasks=tuple(FileTask(file=file, record=source.record(file)) for file in files),
        attribute_names=source.attribute_names,
        stamps=stamps,
        notes=(*notes, *source.notes),
    )


def choose_files(files: Sequence[str], config: BuildConfig, root: Path) -> list[str]:
    """The files that `ids` names (all without it), the first `limit` of them.

    An id is a file's path in the source, its name, or its name without the ending.
    Raises UsageError for ids that name nothing.
    """
    chosen = list(files)
    if config.ids is not None:
        wanted = set(config.ids)
        named = {file: {file, file.rpartition("/")[2], file.rpartition("/")[2].rpartition(".")[0]} for file in files}
        chosen = [file for file in files if named[file] & wanted]
        found = set().union(*(named[file] for file in chosen)) if chosen else set()
        unknown = sorted(wanted - found)
        if unknown:
            shown = ", ".join(printable(name) for name in unknown[:IDS_SHOWN])
            raise UsageError(f"--ids: not in {root}: {shown}{', ...' if len(unknown) > IDS_SHOWN else ''}")
    return chosen[: config.limit]


def file_sha256(path: Path) -> str:
    """Sha256 hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
