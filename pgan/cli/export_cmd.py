"""`pgan export`."""

from pathlib import Path

import click

from pgan.cli.common import command_errors, dry_run_option, emit, json_option, quiet_option


@click.command("export")
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.onnx.")
@json_option
@dry_run_option
@quiet_option
@command_errors
def export_cmd(network: Path, out: Path, as_json: bool, dry_run: bool, quiet: bool) -> None:
    """Write the generator of NETWORK as an ONNX model, and check it against the original.

    NETWORK is a file of RUN/networks or RUN/checkpoints, or RUN for its newest. The model takes z (N, latent), and
    labels (N,) where the network has classes, and gives images (N, 3, R, R), nominally in [-1, 1].

    \b
    Example:
      pgan export runs/cifar10 --out generator.onnx
    """
    from pgan.export import check_export_out, export_onnx
    from pgan.generate import read_generator

    check_export_out(out)
    generator = read_generator(network)
    if dry_run:
        res = generator.config.network.res
        plain = {"network": str(generator.path), "out": str(out), "res": res}
        emit(plain, f"would write {generator.path} ({res}x{res}) as {out}", as_json=as_json)
        return
    report = export_onnx(generator, out)
    if as_json or not quiet:
        text = f"{out}: {report.checked} images compared, largest difference {report.max_abs_diff:.3g} "
        emit(report.to_json(), f"{text}({report.relative:.2g} of their range)", as_json=as_json)
