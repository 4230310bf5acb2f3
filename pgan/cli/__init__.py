"""The `pgan` command. Each sub-command lives in its own module and imports what is heavy when it runs."""

import click

from pgan import __version__
from pgan.cli.benchmark_cmd import benchmark_cmd
from pgan.cli.eval_cmd import eval_cmd
from pgan.cli.export_cmd import export_cmd
from pgan.cli.fit_cmd import fit_cmd
from pgan.cli.mnist_cmd import mnist1k_cmd
from pgan.cli.sample_cmd import sample_cmd
from pgan.cli.status_cmd import presets_cmd, status_cmd
from pgan.cli.video_cmd import video_cmd


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pgan")
def main() -> None:
    """Train progressive GANs on pyramids, and use what was trained."""


for command in (
    fit_cmd,
    presets_cmd,
    status_cmd,
    sample_cmd,
    video_cmd,
    eval_cmd,
    export_cmd,
    benchmark_cmd,
    mnist1k_cmd,
):
    main.add_command(command)
