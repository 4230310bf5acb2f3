"""What `pgan fit` says while it runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pgan.benchmark import Cost
    from pgan.config import Config

KIMG = 1000


class Speaker:
    """Turns records of the log into a progress bar and lines on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.nimg = 0
        self.leads = False
        self._bar: Any = None
        self._sec_per_kimg: float | None = None

    @contextmanager
    def bar(self, total_kimg: float) -> Iterator[None]:
        """A bar in kimg with rate and time left."""
        from tqdm import tqdm

        with tqdm(total=total_kimg, unit="kimg", disable=self.quiet, dynamic_ncols=True, desc="pgan") as self._bar:
            self._bar.bar_format = "{l_bar}{bar}| {n:.1f}/{total:.0f} kimg [{elapsed}<{remaining}{postfix}]"
            yield

    def hear(self, record: Mapping[str, Any]) -> None:
        """Take one record."""
        kind = record["kind"]
        if kind == "step":
            self._step(record)
        elif kind == "start":
            self.nimg, self.leads = int(record["nimg"]), True
            if self._bar is not None:
                self._bar.initial = self._bar.n = self.nimg / KIMG
            if "micro_batch" in record:
                parts = ", ".join(f"{res}: {size}" for res, size in record["micro_batch"].items())
                self._say(f"batches are split by gradient accumulation, images at a time by resolution: {parts}")
            if not record["tensorboard"]:
                self._say("no TensorBoard log: install celebahq-tools[pgan] for one")
        elif kind == "tick":
            self._sec_per_kimg = float(record["sec_per_kimg"])
        elif kind == "metrics":
            values = ", ".join(f"{name} {value:.3f}" for name, value in record["values"].items())
            self._say(f"{record['kimg']:.0f} kimg: {values}")
        elif kind == "metrics-failed":
            self._say(f"warning: {record['kimg']:.0f} kimg: not measured: {record['reason']}")
        elif kind == "warning":
            self._say(f"warning: {record['text']}")

    def _step(self, record: Mapping[str, Any]) -> None:
        self.nimg = int(record["nimg"])
        if self._bar is None or self.quiet:
            return
        rate = "" if self._sec_per_kimg is None else f", {self._sec_per_kimg:.2f} sec/kimg"
        self._bar.set_postfix_str(f"{record['res']}x{record['res']} lod {record['lod']:.2f}{rate}", refresh=False)
        self._bar.update(self.nimg / KIMG - self._bar.n)

    def _say(self, line: str) -> None:
        if not self.quiet:
            from tqdm import tqdm

            with tqdm.external_write_mode():
                click.echo(line, err=True)


def dry_text(config: "Config", rows: "Sequence[Cost]", total_sec: float) -> str:
    """The costs of a run for people."""
    from pgan.config import config_json

    lines = [json.dumps(config_json(config), indent=2)]
    lines.append("  res  batch   G params   D params  sec/kimg  memory MiB")
    for row in rows:
        guess = "" if row.timed else "  (extrapolated)"
        lines.append(
            f"{row.res:5d}  {row.batch:5d}  {row.g_parameters:9d}  {row.d_parameters:9d}  {row.sec_per_kimg:8.2f}  "
            f"{row.memory_mib:10.0f}{guess}"
        )
    lines.append(
        f"{config.schedule.total_kimg:g} kimg in about {timedelta(seconds=round(total_sec))}, one process, without "
        "measurements and pictures"
    )
    return "\n".join(lines)
