"""`celebahq doctor`: what is there, what is missing or damaged, what to do."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from celebahq_tools.cli.common import command_errors, emit, json_option, progress_bar, quiet_option
from celebahq_tools.errors import EXIT_FAILED

if TYPE_CHECKING:
    from celebahq_tools.doctor import Finding


@click.command("doctor")
@click.option("--src", type=click.Path(path_type=Path), help="CelebA root, or a folder or zip of photographs.")
@click.option("--deltas", type=click.Path(path_type=Path), help="Folder of deltas00000.zip ... and image_list.txt.")
@click.option("--deep", is_flag=True, help="Also read every needed picture and delta (needs --src and --deltas).")
@quiet_option
@json_option
@command_errors
def doctor_cmd(src: Path | None, deltas: Path | None, deep: bool, quiet: bool, as_json: bool) -> None:
    """Examine packages, pictures and delta files before a build, and say what to do.

    Exit code 0: nothing is missing or damaged; 1: something is.

    \b
    Example:
      celebahq doctor --src celeba/ --deltas deltas/
    """
    import dataclasses

    from celebahq_tools.doctor import PROBLEMS, examine

    with progress_bar("Reading pictures", quiet=quiet or not deep) as progress:
        findings = examine(src, deltas, deep=deep, progress=progress)
    problems = sum(finding.state in PROBLEMS for finding in findings)
    result = {"problems": problems, "findings": [dataclasses.asdict(finding) for finding in findings]}
    emit(result, _table(findings, problems), as_json=as_json)
    if problems:
        raise SystemExit(EXIT_FAILED)


def _table(findings: "list[Finding]", problems: int) -> str:
    width = max(len(finding.part) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<8} {finding.part:<{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {finding.advice}")
    lines.append(f"{problems} problem{'' if problems == 1 else 's'}" if problems else "no problems")
    return "\n".join(lines)
