"""Which of a benchmark's readings are its figures: what tables show and what is compared with a baseline.

A figure is {"smallest", "median", "largest", "unit", "better": "higher" | "lower"}. A benchmark of its own may write
`figures` itself; this table is for those whose readings lie elsewhere in their record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.record import Spread

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """Where a figure lies in the record; with `over`, the ratio of that to it, reading by reading.

    unit    'x' for ratios
    better  'higher' or 'lower'
    """

    name: str
    path: Path
    unit: str
    better: str
    over: Path | None = None


def _faster(name: str, plain: Path, ours: Path) -> Pick:
    return Pick(name=name, path=ours, over=plain, unit="x", better="higher")


PICKS: Mapping[str, tuple[Pick, ...]] = {
    "build": (
        Pick(name="images per second, 1 job", path=("images_per_sec_1_job",), unit="1/s", better="higher"),
        Pick(name="speed of 2 jobs, running", path=("speed_of_2_jobs_marginal",), unit="x", better="higher"),
        Pick(name="peak memory of a process", path=("peak_worker_gib",), unit="GiB", better="lower"),
    ),
    "features": (
        _faster(
            "speed over the plain loop",
            ("seconds_per_image", "plain, jpg"),
            ("seconds_per_image", "fp32, jpg, batch 16"),
        ),
        Pick(name="share in the network", path=("network_share", "fp32, jpg, batch 16"), unit="", better="higher"),
    ),
    "formats": (
        # Rates, not times: the pyramid's over those of the folder.
        _faster("reader over PNG folder", ("reader_0_workers", "pyramid"), ("reader_0_workers", "png_folder")),
        _faster("the same, 2 workers", ("reader_2_workers", "pyramid"), ("reader_2_workers", "png_folder")),
    ),
    "geometry": (
        Pick(name="decoding", path=("road_ms", "decode"), unit="ms", better="lower"),
        Pick(name="crop", path=("road_ms", "crop"), unit="ms", better="lower"),
        Pick(name="levels", path=("road_ms", "levels"), unit="ms", better="lower"),
    ),
    "ms_ssim": (_faster("speed over plain, 1 job", ("readings", "plain"), ("readings", "ours, 1 thread")),),
    "official": (
        Pick(name="unpadded picture", path=("unpadded", "total"), unit="s", better="lower"),
        Pick(name="padded picture", path=("padded", "total"), unit="s", better="lower"),
    ),
    "pgan_step": tuple(
        _faster(
            f"{ours} at {entry.split()[0]}² over plain fp32",
            ("entries", entry, "programs", "plain fp32", "seconds_per_step"),
            ("entries", entry, "programs", ours, "seconds_per_step"),
        )
        for entry in ("16 conv", "32 conv", "64 conv", "128 conv", "256 conv")
        for ours in ("ours fp32", "ours bf16")
    ),
    "quality_validation": (
        Pick(name="score of one picture", path=("milliseconds_at_1024",), unit="ms", better="lower"),
    ),
    "restoration": (Pick(name="bf16 over fp32", path=("bf16_over_fp32",), unit="x", better="higher"),),
    "restorers": (
        Pick(name="jpeg, quality 10", path=("gains", "jpeg", "q10", "psnr_gain"), unit="dB", better="higher"),
        Pick(name="jpeg, quality 75", path=("gains", "jpeg", "q75", "psnr_gain"), unit="dB", better="higher"),
        Pick(name="sr4 over bicubic", path=("gains", "sr4", "bicubic", "psnr_gain"), unit="dB", better="higher"),
        Pick(
            name="joint over bicubic, quality 75",
            path=("gains", "joint", "bicubic-q75", "psnr_gain"),
            unit="dB",
            better="higher",
        ),
        Pick(
            name="joint over Real-ESRGAN",
            path=("speed", "fp32", "joint_times_faster"),
            unit="x",
            better="higher",
        ),
    ),
    "store_layout": (
        Pick(
            name="random image, warm",
            path=("ms_per_image", "random 1024, warm", "contiguous, preadv (PyramidReader)"),
            unit="ms",
            better="lower",
        ),
    ),
    "swd": (
        _faster("end to end over plain", ("end", "plain", "readings"), ("end", "ours", "readings")),
        _faster(
            "one level over plain",
            ("distance", "plain (1 of 4 repeats, x4)", "readings"),
            ("distance", "ours, in memory", "readings"),
        ),
        Pick(name="feeding, 1 thread", path=("feed", "ours, 1 threads", "readings"), unit="ms", better="lower"),
    ),
}


def figures_of(name: str, results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of a record; those it does not hold are left out."""
    found = {}
    for pick in PICKS.get(name, ()):
        readings = _readings(results, pick.path)
        if pick.over is not None and readings:
            base = _readings(results, pick.over)
            readings = [plain / ours for plain, ours in zip(base, readings, strict=False)]
        if readings:
            found[pick.name] = {**Spread.of(readings).plain(), "unit": pick.unit, "better": pick.better}
    return found


def _readings(results: Mapping[str, Any], path: Path) -> list[float]:
    value: Any = results
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return []
        value = value[key]
    if isinstance(value, Mapping):
        return [value[key] for key in ("smallest", "median", "largest") if key in value]
    return [float(item) for item in value] if isinstance(value, list) else [float(value)]
