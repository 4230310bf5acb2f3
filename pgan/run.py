"""The directory of a run: configuration, log, checkpoints, and who may write to it.

docs/training.md describes the files. Every file appears whole or not at all; the log is appended to, and cut back
to the checkpoint when a run resumes.
"""

import fcntl
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from pgan.config import Config, config_from_json, config_json
from pgan.data import DataInfo
from pgan.errors import CheckpointError, ConfigError, DiskSpaceError, RunError
from pgan.generate import CHECKPOINTS, NETWORKS
from pgan.schedule import KIMG
from pgan.snapshots import STATE, Snapshot, read_snapshot

SCHEMA, SCHEMA_VERSION = "celebahq-tools/pgan-run", 1
CONFIG, LOG, LOCK = "config.json", "log.jsonl", ".lock"
LIBRARIES = ("torch", "numpy", "h5py", "safetensors")

Json = dict[str, Any]


def now() -> str:
    """The time as ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Python and the libraries the numbers depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in LIBRARIES}}


def machine() -> str:
    """The machine in words."""
    return f"{platform.machine()} {sys.platform}, {os.cpu_count()} cores"


class RunDirectory:
    """Paths and files of a run; one process may hold it at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    # -- ownership ---------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Make the folder and keep others out; RunError when another process holds it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise RunError(f"{self.path} is in use by another process; wait for it or stop it") from None
        except OSError as error:
            raise RunError(f"{self.path} cannot be used as a run directory ({error.strerror})") from None

    def release(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- configuration -----------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / CONFIG).is_file()

    def write_config(self, config: Config, data: DataInfo) -> None:
        """Store the resolved configuration."""
        plain = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "preset": config.preset,
            "config": config_json(config),
            "data": {
                "path": str(data.path.absolute()),
                "fingerprint": data.fingerprint,
                "n": data.n,
                "res": data.res,
                "label_names": list(config.network.label_names),
            },
            "versions": versions(),
            "machine": machine(),
            "started": now(),
        }
        self.write_text(CONFIG, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")

    def read_config(self) -> tuple[Config, Json]:
        """The configuration and the description of the data. RunError when this is no run directory."""
        place = self.path / CONFIG
        try:
            plain = json.loads(place.read_text(encoding="utf-8"))
        except OSError:
            raise RunError(f"{self.path} is not the directory of a run: it has no {CONFIG}") from None
        except ValueError as error:
            raise RunError(f"{place} is damaged ({error})") from None
        if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
            raise RunError(f"{place} was not written by this program")
        if plain.get("schema_version") != SCHEMA_VERSION:
            raise RunError(f"{place} has version {plain.get('schema_version')!r}, this program reads {SCHEMA_VERSION}")
        try:
            return config_from_json(plain["config"], str(place)), dict(plain["data"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise RunError(f"{place} is damaged ({error})") from None

    def write_text(self, name: str, text: str) -> None:
        """Write a small file whole or not at all."""
        partial = self.path / f"{name}.partial"
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DiskSpaceError(f"{self.path / name}: cannot be written ({error.strerror})") from None

    # -- log ---------------------------------------------------------------------------------------------------

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a record."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DiskSpaceError(f"{self.path / LOG}: cannot be written ({error.strerror}); resume later") from None

    def records(self) -> list[Json]:
        """The log; a last line that was cut off by a kill does not count."""
        try:
            lines = (self.path / LOG).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
        return found

    def cut_log(self, nimg: int) -> None:
        """Forget what happened after `nimg`, and how the run ended."""
        kept = [r for r in self.records() if r.get("nimg", 0) <= nimg and r.get("kind") != "stop"]
        self.write_text(LOG, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))

    # -- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_path(self, nimg: int) -> Path:
        """Where the checkpoint at `nimg` is."""
        return self.path / CHECKPOINTS / f"{nimg:010d}.safetensors"

    def network_path(self, nimg: int) -> Path:
        """Where the averaged generator at `nimg` is."""
        return self.path / NETWORKS / f"{round(nimg / KIMG):06d}.safetensors"

    def checkpoints(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted((self.path / CHECKPOINTS).glob("*.safetensors"))

    def newest_checkpoint(self, damaged: Callable[[str], None]) -> Snapshot:
        """The newest checkpoint that is whole; `damaged` hears about those that are not. RunError without any."""
        for path in reversed(self.checkpoints()):
            try:
                return read_snapshot(path, kind=STATE)
            except CheckpointError as error:
                damaged(str(error))
        raise RunError(f"{self.path} has no usable checkpoint to resume from")

    def prune(self, keep: int, also: set[int]) -> None:
        """Remove all checkpoints but the newest `keep` and those at `also`."""
        for path in self.checkpoints()[:-keep]:
            if int(path.stem) not in also:
                path.unlink(missing_ok=True)
