"""The command exists and says what it does not have."""

from click.testing import CliRunner

from pgan.cli import main


def test_the_command_says_that_the_trainer_is_not_there() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "the trainer is not in it yet" in " ".join(result.output.split())
    assert CliRunner().invoke(main, ["fit"]).exit_code == 2
