"""The command exists and names its sub-commands."""

from click.testing import CliRunner

from pgan.cli import main


def test_the_command_has_help_and_refuses_unknown_commands() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "progressive GANs" in result.output
    assert CliRunner().invoke(main, ["nothing-of-the-kind"]).exit_code == 2
