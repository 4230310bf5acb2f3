"""`pgan benchmark`."""

from typing import TYPE_CHECKING

import click

from pgan.cli.common import command_errors, device_option, emit, json_option, progress_bar, quiet_option

if TYPE_CHECKING:
    from pgan.benchmark import Cost


@click.command("benchmark")
@click.option("--preset", "name", default="celebahq-1024", show_default=True, help="Configuration that is measured.")
@click.option("--max-res", type=click.IntRange(min=4), default=64, show_default=True, help="Largest side in pixels.")
@click.option("--steps", type=click.IntRange(min=1), default=3, show_default=True, help="Timed steps per resolution.")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default=None, help="Else as configured.")
@click.option("--form", type=click.Choice(["auto", "plain", "fused"]), default=None, help="Else as configured.")
@click.option("--compile", "compiled", is_flag=True, help="With torch.compile.")
@device_option
@json_option
@quiet_option
@command_errors
def benchmark_cmd(
    name: str,
    max_res: int,
    steps: int,
    precision: str | None,
    form: str | None,
    compiled: bool,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Time training steps on synthetic images, resolution by resolution; nothing is read or written.

    Batches are the preset's and not split, so the largest resolutions may not fit into memory.

    \b
    Example:
      pgan benchmark --preset v2-1gpu --max-res 32 --precision bf16 --json
    """
    from pgan.benchmark import chosen_config, measure_costs

    config = chosen_config(name, precision=precision, form=form, compiled=compiled)
    with progress_bar("benchmark", quiet=quiet, unit="resolution") as progress:
        costs = measure_costs(config, device, max_res=max_res, steps=steps, progress=progress)
    result = {
        "preset": name,
        "precision": config.train.precision,
        "form": config.train.form,
        "device": device,
        "steps": steps,
        "resolutions": [cost.json() for cost in costs],
    }
    emit(result, _table(costs), as_json=as_json)


def _table(costs: "list[Cost]") -> str:
    lines = ["   res  batch   G param.   D param.     s/step     s/kimg   peak MiB"]
    lines += [
        f"{cost.res:6d} {cost.batch:6d} {cost.g_parameters:10,d} {cost.d_parameters:10,d} {cost.sec_per_step:10.3f} "
        f"{cost.sec_per_kimg:10.1f} {cost.peak_mib:10.0f}"
        for cost in costs
    ]
    return "\n".join(lines)
