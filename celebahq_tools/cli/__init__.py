"""The `celebahq` command. Each sub-command lives in its own module and imports what is heavy when it runs."""

import click

from celebahq_tools import __version__
from celebahq_tools.cli.build_cmd import build_cmd
from celebahq_tools.cli.doctor_cmd import doctor_cmd
from celebahq_tools.cli.export_cmd import export_cmd
from celebahq_tools.cli.identify_cmd import identify_cmd
from celebahq_tools.cli.import_cmd import import_cmd
from celebahq_tools.cli.info_cmd import info_cmd
from celebahq_tools.cli.repack_cmd import repack_cmd
from celebahq_tools.cli.restore_cmd import restore_cmd
from celebahq_tools.cli.sets_cmd import compare_cmd, dedup_cmd, split_cmd
from celebahq_tools.cli.sheet_cmd import sheet_cmd
from celebahq_tools.cli.train_restorer_cmd import train_restorer_cmd
from celebahq_tools.cli.verify_cmd import verify_cmd
from celebahq_tools.cli.view_cmd import view_cmd
from celebahq_tools.cli.weights_cmd import weights_cmd


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="celebahq")
def main() -> None:
    """Build, check and convert high-resolution face data sets."""


for command in (
    build_cmd,
    import_cmd,
    info_cmd,
    verify_cmd,
    sheet_cmd,
    export_cmd,
    repack_cmd,
    compare_cmd,
    split_cmd,
    dedup_cmd,
    view_cmd,
    weights_cmd,
    doctor_cmd,
    identify_cmd,
    restore_cmd,
    train_restorer_cmd,
):
    main.add_command(command)
