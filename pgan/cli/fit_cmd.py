"""`pgan fit`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pgan.cli.common import command_errors, emit, json_option, quiet_option
from pgan.cli.config_options import config_options

EXIT_OF = {"finished": 0, "SIGINT": 130, "SIGTERM": 143}


@click.command("fit")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help="Pyramid to learn from.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the new run.")
@click.option(
    "--preset", default="demo", show_default=True, help="Where settings start from; `pgan presets` lists them."
)
@click.option("--resume", type=click.Path(file_okay=False, path_type=Path), help="Go on with the run in this folder.")
@click.option("--device", help="cpu or cuda. [default: cuda if there is one]")
@click.option("--dry-run", is_flag=True, help="Print configuration, parameters, memory and time; write nothing.")
@config_options
@json_option
@quiet_option
@command_errors
def fit_cmd(
    data: Path | None,
    out: Path | None,
    preset: str,
    resume: Path | None,
    device: str | None,
    dry_run: bool,
    overrides: dict[str, str | bool],
    as_json: bool,
    quiet: bool,
) -> None:
    """Train a GAN on the pyramid --data, in the folder --out.

    Ctrl-C or SIGTERM saves and ends; --resume goes on, to the bit. Under torchrun, processes share every batch.
    Every setting of the preset can be overridden; --batch and --lr take RES:VALUE too.

    \b
    Examples:
      pgan fit --data faces.h5 --out runs/faces --preset celebahq-1024 --res 256 --batch 64:32,128:16
      pgan fit --resume runs/faces --total-kimg 8000
    """
    from pgan.cli.fit_words import Speaker, dry_text
    from pgan.errors import ConfigError
    from pgan.fit import carry_out, default_device, prepare_new, prepare_resume, process_group

    speaker = Speaker(quiet=quiet or os.environ.get("RANK", "0") != "0")
    with process_group(device or default_device()) as chosen:
        if resume is not None:
            if out is not None:
                raise ConfigError("--resume names the folder; leave --out away")
            prepared = prepare_resume(resume, data, overrides, speaker.hear)
        elif data is None or out is None:
            raise ConfigError("a new run needs --data FILE.h5 and --out FOLDER; --resume FOLDER goes on with one")
        else:
            prepared = prepare_new(preset, data, out, overrides)
        if dry_run:
            from pgan.benchmark import estimate_run, total_sec
            from pgan.config import config_json

            rows = estimate_run(prepared.config, chosen)
            seconds = total_sec(prepared.config, rows)
            plain: Mapping[str, Any] = {
                "config": config_json(prepared.config),
                "resolutions": [row.json() for row in rows],
                "total_sec": seconds,
            }
            emit(plain, dry_text(prepared.config, rows, seconds), as_json=as_json)
            return
        with speaker.bar(prepared.config.schedule.total_kimg):
            reason = carry_out(prepared, chosen, speaker.hear)
    summary = {"run": str(prepared.run.path), "reason": reason, "nimg": speaker.nimg}
    if speaker.leads:
        text = f"{prepared.run.path}: {reason} at {speaker.nimg / 1000:.1f} kimg"
        click.echo(json.dumps(summary) if as_json else text)
    if reason != "finished":
        raise SystemExit(EXIT_OF.get(reason, 1))
