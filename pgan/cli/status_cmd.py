"""`pgan status` and `pgan presets`."""

from pathlib import Path

import click

from pgan.cli.common import command_errors, emit, json_option


@click.command("status")
@click.argument("run", type=click.Path(path_type=Path))
@json_option
@command_errors
def status_cmd(run: Path, as_json: bool) -> None:
    """How far the run in the folder RUN is, and how it does.

    \b
    Example:
      pgan status runs/faces
    """
    from pgan.status import run_status, status_text

    status = run_status(run)
    emit(status, status_text(status), as_json=as_json)


@click.command("presets")
@json_option
@command_errors
def presets_cmd(as_json: bool) -> None:
    """The presets of `pgan fit --preset`.

    \b
    Example:
      pgan presets
    """
    from pgan.config import config_json
    from pgan.presets import preset, preset_names

    configs = {name: preset(name) for name in preset_names()}
    lines = [
        f"{name:16s} {config.network.res:5d} pixels  {config.schedule.total_kimg:7.0f} kimg  {config.loss.loss}"
        for name, config in configs.items()
    ]
    emit({name: config_json(config) for name, config in configs.items()}, "\n".join(lines), as_json=as_json)
