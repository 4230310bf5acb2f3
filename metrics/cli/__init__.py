"""The `metrics` command. Each sub-command lives in its own module and imports what is heavy when it runs."""

import click

from metrics import __version__
from metrics.cli.all_cmd import all_cmd
from metrics.cli.compare_cmd import compare_cmd
from metrics.cli.features_cmd import features_cmd
from metrics.cli.fid_cmd import fid_cmd
from metrics.cli.is_cmd import is_cmd
from metrics.cli.kid_cmd import kid_cmd
from metrics.cli.ms_ssim_cmd import ms_ssim_cmd
from metrics.cli.pr_cmd import pr_cmd
from metrics.cli.report_cmd import report_cmd
from metrics.cli.swd_cmd import swd_cmd


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="metrics")
def main() -> None:
    """Measure sets of generated images, each number with its protocol and uncertainty."""


for command in (swd_cmd, ms_ssim_cmd, is_cmd, fid_cmd, kid_cmd, pr_cmd, all_cmd, features_cmd, compare_cmd, report_cmd):
    main.add_command(command)
