"""The `pgan` command."""

import click

from pgan import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pgan")
def main() -> None:
    """Train progressive GANs on pyramids, and use what was trained."""
