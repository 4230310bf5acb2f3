"""Weights of our own networks as safetensors: half-precision tensors and a header that says what they are.

The header's metadata hold one entry, `celebahq-restorer`: JSON with `format` (version of this layout), `task`,
`version`, `network` and `card` (how they were trained). One entry, because the order of several is not fixed and the
same weights are to give the same bytes. Nothing in such a file is executed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.restore.header import OURS_FORMAT, OURS_KEY, read_metadata
from celebahq_tools.restore.networks import NetworkConfig, RestoreNetwork, TaskName

MAX_FILE_BYTES = 64 * 2**20

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """Weights and what is known of them.

    card  how they were trained: JSON values
    """

    task: TaskName
    version: str
    network: NetworkConfig
    state: State
    card: dict[str, Any]


def encode_model(model: Model) -> bytes:
    """The file's bytes; tensors are rounded to float16."""
    about = {
        "format": OURS_FORMAT,
        "task": model.task,
        "version": model.version,
        "network": asdict(model.network),
        "card": model.card,
    }
    tensors = {key: t.detach().to(torch.float16).contiguous() for key, t in model.state.items()}
    return save_tensors(tensors, {OURS_KEY: json.dumps(about, sort_keys=True)})


def read_model_bytes(path: Path) -> bytes:
    """A weights file. MissingDependencyError when it is not there, FormatError when it is too large."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{path}: larger than {MAX_FILE_BYTES} bytes: not weights of one of our networks")
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingDependencyError(f"{path}: no such weights file") from None
    except OSError as error:
        raise MissingDependencyError(f"{path}: weights cannot be read: {error.strerror}") from None


def decode_model(data: bytes, *, name: str) -> Model:
    """The weights in a file's bytes, float32. FormatError when they are anything but one of our networks."""
    about = _about(data, name)
    task = about.get("task")
    if task not in get_args(TaskName):
        raise FormatError(f"{name}: weights are for task {task!r}: expected one of {', '.join(get_args(TaskName))}")
    try:
        values = about["network"]
        network = NetworkConfig(
            scale=int(values["scale"]),
            fold=int(values["fold"]),
            channels=tuple(int(c) for c in values["channels"]),
            blocks=tuple(int(b) for b in values["blocks"]),
        )
        state = load_tensors(data)
    except UsageError as error:
        raise FormatError(f"{name}: {error}") from None
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{name}: the description of the network in its header is damaged") from None
    except SafetensorError as error:
        raise FormatError(f"{name}: damaged: {error}") from None
    check_state(state, network, name=name)
    card = about.get("card")
    return Model(
        task=cast(TaskName, task),
        version=str(about.get("version", "unknown")),
        network=network,
        state={key: t.to(torch.float32) for key, t in state.items()},
        card=card if isinstance(card, dict) else {},
    )


def _about(data: bytes, name: str) -> dict[str, Any]:
    text = read_metadata(data, name=name).get(OURS_KEY)
    if text is None:
        raise FormatError(f"{name}: a safetensors file, but not weights of one of our networks")
    try:
        about = json.loads(text)
    except ValueError:
        about = None
    if not isinstance(about, dict) or about.get("format") != OURS_FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise FormatError(f"{name}: expected weights of format {OURS_FORMAT}, found {found!r}")
    return about


def check_state(state: State, network: NetworkConfig, *, name: str) -> None:
    """FormatError unless keys and shapes are exactly the network's and every number is finite."""
    with torch.device("meta"):
        expected = {key: t.shape for key, t in RestoreNetwork(network).state_dict().items()}
    for key, shape in expected.items():
        if key not in state or state[key].shape != shape:
            found = tuple(state[key].shape) if key in state else "nothing"
            raise FormatError(f"{name}: expected {key} of shape {tuple(shape)}, found {found}: another network")
        if not bool(torch.isfinite(state[key]).all()):
            raise FormatError(f"{name}: {key} holds values that are not finite: damaged")
    if surplus := sorted(set(state) - set(expected)):
        raise FormatError(f"{name}: {surplus[0]} is not part of this network")
