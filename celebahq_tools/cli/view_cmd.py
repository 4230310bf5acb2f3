"""`celebahq view`."""

from pathlib import Path

import click

from celebahq_tools.cli.common import command_errors


@click.command("view")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@command_errors
def view_cmd(file: Path, port: int) -> None:
    """Look through the pyramid FILE in a browser: pages, filters by attribute, class, quality; rejected pictures.

    The page is served to this machine only (127.0.0.1). Stop with Ctrl-C.

    \b
    Example:
      celebahq view celebahq-1024.h5
    """
    from celebahq_tools.view.server import Viewer, ViewServer

    viewer = Viewer(file)
    with ViewServer(viewer, port) as server:
        click.echo(f"{file}: {server.url}  (Ctrl-C stops)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        finally:
            viewer.close()
