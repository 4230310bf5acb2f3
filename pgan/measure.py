"""Metrics while training, here or in a process of their own; training's draws are never touched."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pgan.config import Config
from pgan.data import DataInfo
from pgan.errors import PganError
from pgan.schedule import KIMG

SKIPPED = " skipped: "
"""Between metric and reason in the lines of the process that measures."""

Done = Callable[[int, Mapping[str, float], float], None]
"""Called as done(nimg, values, seconds) when a measurement is finished."""
Failed = Callable[[int, str], None]
"""Called as failed(nimg, reason) when there will be no values: days of training do not end for a missing number."""


class Measurer:
    """Measures stored generators against the training set."""

    def __init__(
        self,
        config: Config,
        data: DataInfo,
        run: Path,
        device: str,
        *,
        done: Done,
        failed: Failed,
        skipped: Callable[[str, str], None],
    ) -> None:
        """`skipped` is told (metric, reason) for what cannot be measured here."""
        self._config, self._data, self._run, self._device = config, data.path, run, device
        self._images = min(config.train.metric_images, data.n)
        self._done, self._failed, self._skipped = done, failed, skipped
        self._process: subprocess.Popen[bytes] | None = None
        self._pending: tuple[int, float] | None = None

    @property
    def pending(self) -> set[int]:
        """nimg of what is being measured."""
        return set() if self._pending is None else {self._pending[0]}

    def start(self, network: Path, nimg: int) -> None:
        """Measure a generator: at once, or in the background after what is being measured there."""
        if not self._config.train.metrics_background:
            self._measure_here(network, nimg)
            return
        self.collect(wait=True)
        self._process = subprocess.Popen(self._command(network), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._pending = nimg, time.perf_counter()

    def _measure_here(self, network: Path, nimg: int) -> None:
        from metrics.errors import MetricsError
        from metrics.sliced.cache import default_cache
        from pgan.evaluate import evaluate_generator, write_results

        started = time.perf_counter()
        train = self._config.train
        try:
            results = evaluate_generator(
                network,
                self._data,
                metrics=train.metrics,
                n=self._images,
                res=train.metric_res or None,
                mirror=train.mirror,
                seed=train.seed,
                cache=default_cache(),
                skipped=self._skipped,
                device=self._device,
            )
            values = write_results(self._run, round(nimg / KIMG), results)
        except (MetricsError, PganError, OSError) as error:
            self._failed(nimg, str(error))
            return
        self._done(nimg, values, time.perf_counter() - started)

    def _command(self, network: Path) -> list[str]:
        train = self._config.train
        command = [sys.executable, "-m", "pgan.evaluate", str(network), "--data", str(self._data)]
        command += ["--run", str(self._run), "--metrics", ",".join(train.metrics), "--seed", str(train.seed)]
        command += ["--n", str(self._images)]
        if train.metric_res:
            command += ["--res", str(train.metric_res)]
        if train.mirror:
            command += ["--mirror"]
        return command

    def collect(self, *, wait: bool = False) -> None:
        """Take what has been measured in the background."""
        if self._process is None or self._pending is None:
            return
        if not wait and self._process.poll() is None:
            return
        _, errors = self._process.communicate()
        nimg, started = self._pending
        code, self._process, self._pending = self._process.returncode, None, None
        lines = errors.decode(errors="replace").strip().splitlines()
        if code:
            self._failed(nimg, lines[-1].removeprefix("error: ") if lines else f"exit code {code}")
            return
        for line in lines:
            name, separator, reason = line.partition(SKIPPED)
            if separator:
                self._skipped(name, reason)
        self._done(nimg, stored_values(self._run, round(nimg / KIMG)), time.perf_counter() - started)

    def close(self) -> None:
        """Stop a measurement that is not finished."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def stored_values(run: Path, kimg: int) -> dict[str, float]:
    """Values of the result files of one moment: {'swd': ..., 'swd/32': ..., 'ms-ssim': ...}."""
    from metrics.protocol import read_result

    values: dict[str, float] = {}
    for path in sorted((run / "metrics").glob(f"{kimg:06d}-*.json")):
        plain: dict[str, Any] = read_result(path)
        name = str(plain["metric"])
        values[name] = float(plain["value"])
        for level, value in (plain.get("levels") or {}).items():
            values[f"{name}/{level}"] = float(value)
    return values
