"""Seconds per image and core of `--recipe official`, by stage.

    OMP_NUM_THREADS=1 python -m benchmarks.official [--src CELEBA] [--rounds 5] [--limit N] [--cpu-time] [--numpy]

Pictures are those of a CelebA root, by default the sample that ships; each stage of each picture is timed in
every round, rounds interleaved. The delta is noise that compresses like the published ones (about 1 MB), made
here and encrypted with the picture's own key, so no deltas are needed. --cpu-time counts processor seconds of
this thread instead of wall time, for machines that are shared. --numpy also times the geometry without numba.
"""

import argparse
import base64
import bz2
import hashlib
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.record import Spread, write_results
from celebahq_tools.deltas import IMAGE_SHAPE, decompress_delta, decrypt_token, derive_key
from celebahq_tools.errors import PictureError
from celebahq_tools.legacy.face import scale_and_crop
from celebahq_tools.legacy.jpeg8d import decode_jpeg8d
from celebahq_tools.legacy.margin import pad_compiled, quad_spans
from celebahq_tools.legacy.padding import pad_numpy
from celebahq_tools.legacy.plan import plan_face
from celebahq_tools.legacy.quad import crop_numpy, crop_quad, crop_quad_planes
from celebahq_tools.official import image_md5
from celebahq_tools.sources import Source, open_sample, open_source

STAGES = ("decode", "scale", "margin", "quad + lanczos", "md5", "pbkdf2", "fernet", "bz2")
GEOMETRY = STAGES[1:4]
NOISE_SIGMA = 1.1
"""Noise of this deviation compresses to about 1 MB."""
GIB = 1 << 30


class Stopwatch:
    """Seconds by stage."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add what the block takes to a stage."""
        started = self.clock()
        yield
        self.seconds[stage] += self.clock() - started


def synthetic_token(jpeg: bytes, name: str) -> bytes:
    """An encrypted delta of noise."""
    from cryptography.fernet import Fernet

    noise = np.rint(np.random.default_rng(0).normal(0, NOISE_SIGMA, IMAGE_SHAPE)).astype(np.int8)
    key = hashlib.pbkdf2_hmac("sha256", jpeg, name.encode(), 100_000, dklen=32)
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(bz2.compress(noise.tobytes()))


def one_image(source: Source, name: str, token: bytes, clock: Callable[[], float]) -> tuple[dict[str, float], bool]:
    """Time one image; tells also whether it was padded."""
    watch = Stopwatch(clock)
    jpeg = source.read(name)
    landmarks = source.require_record(name).landmarks
    assert landmarks is not None
    with watch.time("decode"):
        pixels = decode_jpeg8d(jpeg, name=name)
    with watch.time("scale"):
        plan = plan_face(landmarks, (pixels.shape[1], pixels.shape[0]))
        pixels = scale_and_crop(pixels, plan)
    if plan.padding is None:
        with watch.time("quad + lanczos"):
            image = crop_quad(pixels, plan.quad)
    else:
        left, top, right, bottom = plan.padding.pad
        with watch.time("margin"):
            spans = quad_spans(plan.quad, pixels.shape[0] + top + bottom, pixels.shape[1] + left + right)
            planes = pad_compiled(pixels, plan.padding, spans)
        with watch.time("quad + lanczos"):
            image = crop_quad_planes(planes, plan.quad)
    with watch.time("pbkdf2"):
        key = derive_key(jpeg, name)
    with watch.time("fernet"):
        packed = decrypt_token(token, key, what=name)
    with watch.time("bz2"):
        delta = decompress_delta(packed, what=name)
    with watch.time("md5"):
        image_md5(image)
        image_md5(image + delta)
    return watch.seconds, plan.padding is not None


def numpy_seconds(source: Source, name: str, clock: Callable[[], float]) -> float:
    """The geometry of one image without numba, once; enlargement and reduction excepted."""
    pixels = decode_jpeg8d(source.read(name), name=name)
    landmarks = source.require_record(name).landmarks
    assert landmarks is not None
    plan = plan_face(landmarks, (pixels.shape[1], pixels.shape[0]))
    pixels = scale_and_crop(pixels, plan)
    started = clock()
    crop_numpy(pixels if plan.padding is None else pad_numpy(pixels, plan.padding), plan.quad)
    return clock() - started


def is_colour(source: Source, name: str) -> bool:
    """Whether the legacy decoder takes the picture: CelebA has no others."""
    try:
        decode_jpeg8d(source.read(name), name=name)
    except PictureError:
        return False
    return True


def measure(source: Source, options: argparse.Namespace) -> None:
    """Time all pictures, print the tables, write the results."""
    clock = time.thread_time if options.cpu_time else time.perf_counter
    names = [name for name in source.files if source.record(name) is not None and is_colour(source, name)]
    names = names[: options.limit]
    tokens = {name: synthetic_token(source.read(name), name) for name in names}
    print(f"{len(names)} pictures of {source.root}, token {len(next(iter(tokens.values()))):,} bytes; compiling ...")
    for name in names:
        one_image(source, name, tokens[name], clock)
    readings: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    padded: dict[str, bool] = {}
    for _ in range(options.rounds):
        for name in names:
            seconds, padded[name] = one_image(source, name, tokens[name], clock)
            readings[name].append(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB

    results: dict[str, object] = {"clock": "processor" if options.cpu_time else "wall", "peak_rss_gib": round(peak, 3)}
    for kind, wanted in (("unpadded", False), ("padded", True)):
        chosen = [name for name in names if padded[name] is wanted]
        if not chosen:
            continue
        print(f"\n{kind}: {len(chosen)} pictures, seconds per image and core, median (smallest-largest)")
        rows: dict[str, list[float]] = {
            stage: [r[stage] for name in chosen for r in readings[name]] for stage in STAGES
        }
        rows["geometry"] = [sum(r[s] for s in GEOMETRY) for name in chosen for r in readings[name]]
        rows["total"] = [sum(r[s] for s in STAGES) for name in chosen for r in readings[name]]
        for stage, values in rows.items():
            print(f"  {stage:<16}{Spread.of(values).text(3)}")
        results[kind] = dict(rows)
        best = {name: min(sum(r[s] for s in STAGES) for r in readings[name]) for name in chosen}
        slowest = max(best, key=lambda name: best[name])
        print(f"  slowest picture {slowest}: {best[slowest]:.3f} at best")
        results[f"{kind}_best_total_by_picture"] = best
        if options.numpy:
            without = numpy_seconds(source, chosen[0], clock)
            ours = min(r["margin"] + r["quad + lanczos"] for r in readings[chosen[0]])
            print(
                f"  {chosen[0]} without numba: {without:.2f} for margin, quad and lanczos, {without / ours:.0f} times"
            )
            results[f"{kind}_numpy_ratio"] = without / ours
    print(f"\npeak memory {peak:.2f} GiB")
    print(f"written to {write_results('official', results)}")


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--numpy", action="store_true")
    options = parser.parse_args()
    if options.src is not None:
        measure(open_source(options.src), options)
        return
    with open_sample() as source:
        measure(source, options)


if __name__ == "__main__":
    main()
