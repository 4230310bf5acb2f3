"""The weights that come with the package, pinned by sha256. Nothing here imports torch."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError

FOLDER = "models"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShippedModel:
    """One file of weights: the task it is for, its name in the package, and the sha256 of its bytes."""

    task: str
    file: str
    sha256: str


SHIPPED: tuple[ShippedModel, ...] = (
    ShippedModel(
        task="jpeg",
        file="jpeg.safetensors",
        sha256="7198c501caf658201303ee57e76518c8e83bdecad5dd695c1a4ccabcf7e30d96",
    ),
    ShippedModel(
        task="joint",
        file="joint.safetensors",
        sha256="57a7ed676e4b3ebb1338c678bc9c7cdffbc26c19a2261f21e2ee0d7865d85f65",
    ),
    ShippedModel(
        task="sr4",
        file="sr4.safetensors",
        sha256="3c7d517c1049ba41a20ab005c361239e3ee8f455cabc38e1fa87cb06f6811526",
    ),
)


def shipped_model(task: str) -> ShippedModel:
    """The weights that ship for a task; UsageError when there are none."""
    for model in SHIPPED:
        if model.task == task:
            return model
    raise UsageError(
        f"no weights for the task {task!r} ship with this package: train them with `celebahq train-restorer` "
        "and give the file as --restorer PATH, or choose another restorer"
    )


def read_shipped(model: ShippedModel) -> bytes:
    """The file's bytes. MissingDependencyError when it is not installed, FormatError when it is another."""
    try:
        data = (resources.files("celebahq_tools") / FOLDER / model.file).read_bytes()
    except OSError:
        raise MissingDependencyError(
            f"{model.file} is missing from the installed package: install celebahq-tools again"
        ) from None
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != model.sha256:
        raise FormatError(
            f"{model.file}: damaged: expected sha256 {model.sha256}, found {sha256}: install celebahq-tools again"
        )
    return data
