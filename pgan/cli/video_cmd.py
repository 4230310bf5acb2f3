"""`pgan video`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgan.cli.common import (
    command_errors,
    device_option,
    dry_run_option,
    emit,
    json_option,
    progress_bar,
    quiet_option,
)

if TYPE_CHECKING:
    from pgan.video import VideoConfig


@click.command("video")
@click.argument("network", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The film, FILE.mp4; replaced if there.")
@click.option("--strip", type=click.Path(dir_okay=False, path_type=Path), help="Also, or only, 1 x 10 frames as a PNG.")
@click.option("--training-progress", is_flag=True, help="The same latents through all networks of RUN.")
@click.option("--grid", metavar="COLUMNSxROWS", default="1x1", show_default=True, help="Images in a frame.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="Length.")
@click.option("--fps", type=click.IntRange(1, 240), default=30, show_default=True, help="Frames per second.")
@click.option("--smoothing-sec", type=float, default=1.0, show_default=True, help="Of the latents, along time.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the latents.")
@click.option("--label", help="Of all images: a class or its name, or NAME=VALUE,... [default: drawn]")
@click.option("--zoom", type=click.IntRange(1, 64), default=1, show_default=True, help="Enlarge pixel by pixel.")
@device_option
@json_option
@dry_run_option
@quiet_option
@command_errors
def video_cmd(
    network: Path,
    out: Path | None,
    strip: Path | None,
    training_progress: bool,
    grid: str,
    seconds: float,
    fps: int,
    smoothing_sec: float,
    seed: int,
    label: str | None,
    zoom: int,
    device: str,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """A film of NETWORK: a closed walk through its latent space, or RUN's training progress.

    NETWORK is a file of RUN/networks or RUN/checkpoints, or RUN for its newest.

    \b
    Examples:
      pgan video runs/cifar10 --out walk.mp4 --grid 8x4 --zoom 4 --strip interpolation.png
      pgan video runs/cifar10 --training-progress --out progress.mp4 --grid 8x4 --seconds 20
    """
    from pgan.errors import ConfigError
    from pgan.sampling import parse_grid
    from pgan.video import VideoConfig
    from pgan.video_file import check_video_out

    if out is None and strip is None:
        raise ConfigError("nothing to write: name --out, --strip or both")
    if training_progress and (strip is not None or out is None):
        raise ConfigError("--training-progress makes a film: name --out, and no --strip")
    columns, rows = parse_grid(grid)
    config = VideoConfig(
        seconds=seconds,
        fps=fps,
        smoothing_sec=smoothing_sec,
        seed=seed,
        columns=columns,
        rows=rows,
        label=label,
        zoom=zoom,
    )
    if out is not None:
        check_video_out(out)
    make = _make_progress if training_progress else _make_walk
    result = make(network, config, out, strip, device, dry_run=dry_run, quiet=quiet)
    verb = "would write" if dry_run else "wrote"
    made = ", ".join(str(path) for path in (out, strip) if path is not None)
    emit(result, f"{verb} {made}: {config.frames} frames, {config.frames / fps:.1f} s", as_json=as_json)


def _make_walk(
    network: Path,
    config: "VideoConfig",
    out: Path | None,
    strip: Path | None,
    device: str,
    *,
    dry_run: bool,
    quiet: bool,
) -> dict[str, Any]:
    from pgan.generate import read_generator
    from pgan.sampling import check_label
    from pgan.video import walk_frames, write_strip
    from pgan.video_file import write_video

    generator = read_generator(network, device)
    check_label(generator, config.label)
    result = {"networks": [str(generator.path)], "frames": config.frames, "fps": config.fps}
    if strip is not None:
        result["strip"] = str(strip)
        if not dry_run:
            write_strip(generator, config, strip)
    if out is not None:
        result["out"] = str(out)
        if not dry_run:
            with progress_bar("video", quiet=quiet, unit="frame") as progress:
                frames = walk_frames(generator, config)
                write_video(out, frames, fps=config.fps, total=config.frames, progress=progress)
    return result


def _make_progress(
    run: Path, config: "VideoConfig", out: Path | None, strip: Path | None, device: str, *, dry_run: bool, quiet: bool
) -> dict[str, Any]:
    from pgan.evaluate_run import networks_of
    from pgan.video import shares, training_frames
    from pgan.video_file import write_video

    assert out is not None
    assert strip is None
    networks = networks_of(run)
    shares(config.frames, len(networks))
    if not dry_run:
        with progress_bar("video", quiet=quiet, unit="frame") as progress:
            frames = training_frames(networks, config, device)
            write_video(out, frames, fps=config.fps, total=config.frames, progress=progress)
    names = [str(path) for path in networks]
    return {"networks": names, "frames": config.frames, "fps": config.fps, "out": str(out)}
