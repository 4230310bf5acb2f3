"""The `celebahq` command. Each sub-command lives in its own module and imports what is heavy when it runs."""

import click

from celebahq_tools import __version__
from celebahq_tools.cli.build_cmd import build_cmd
from celebahq_tools.cli.import_cmd import import_cmd


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="celebahq")
def main() -> None:
    """Build, check and convert high-resolution face data sets."""


main.add_command(build_cmd)
main.add_command(import_cmd)
