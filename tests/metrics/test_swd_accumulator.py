"""Feeding, spilling, merging, storing."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metrics.errors import BatchError, CacheError, DiskSpaceError
from metrics.sliced.acceleration import have_native
from metrics.sliced.accumulator import SwdAccumulator
from metrics.sliced.cache import StatisticsCache, load_statistics, save_statistics
from metrics.sliced.config import SwdConfig, level_sizes
from metrics.sliced.draws import ReferenceDraws
from metrics.sliced.statistics import SQUARES, SUM, SwdStatistics, merge_statistics
from metrics.sources import as_image_set

SMALL = SwdConfig(patches=16)


def fed(images: np.ndarray, batch: int, **options: Any) -> SwdStatistics:
    options = {"config": SMALL, "res": images.shape[-1], "n": len(images), **options}
    with SwdAccumulator(**options) as accumulator:
        for start in range(0, len(images), batch):
            accumulator.feed(images[start : start + batch])
        return accumulator.finish()


def assert_same(one: SwdStatistics, other: SwdStatistics, *, squares: float = 0) -> None:
    """To the bit, but for the sums of squares, which may differ by `squares` of their size."""
    assert one.sizes == other.sizes
    np.testing.assert_array_equal(one.numbers, other.numbers)
    everything = np.arange(one.n)
    for size in one.sizes:
        np.testing.assert_array_equal(one.sums[size][..., SUM], other.sums[size][..., SUM])
        np.testing.assert_allclose(one.sums[size][..., SQUARES], other.sums[size][..., SQUARES], rtol=squares)
        np.testing.assert_array_equal(
            one.stores[size].read(everything),
            other.stores[size].read(everything),
        )


@pytest.mark.parametrize("res", [16, 64, 512])
def test_batches_threads_and_spilling_do_not_change_a_bit(res: int, natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(12 if res < 512 else 4, res)
    expected = fed(images, len(images))
    for batch, options in ((1, {}), (5, {"jobs": 3}), (7, {"jobs": 2, "memory": 0, "spill": tmp_path})):
        assert_same(fed(images, batch, **options), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not have_native(), reason="the loops in C were not built")
@pytest.mark.parametrize("res", [64, 256])
def test_feeding_by_the_loops_in_c_gives_the_same_descriptors(res: int, natural_images: Any) -> None:
    images = natural_images(10, res)
    expected = fed(images, 10, native=False)
    assert_same(fed(images, 3, native=True, jobs=2), expected, squares=1e-14)
    reference = SwdConfig(patches=16, protocol="reference")
    draws = [ReferenceDraws(reference, level_sizes(res)) for _ in range(2)]
    one, other = (
        fed(images, 5, config=reference, reference=drawn, native=native)
        for drawn, native in zip(draws, (False, True), strict=True)
    )
    assert_same(one, other, squares=1e-14)


def test_a_set_is_fed_as_its_images_are(natural_images: Any) -> None:
    images = natural_images(9, 32)
    numbers = np.array([8, 1, 4])
    with SwdAccumulator(res=32, n=3, config=SMALL, jobs=2) as accumulator:
        accumulator.feed_set(as_image_set(images), numbers)
        from_set = accumulator.finish()
    with SwdAccumulator(res=32, n=3, config=SMALL) as accumulator:
        accumulator.feed(images[[4, 8]], numbers=[4, 8], slots=[2, 0])
        accumulator.feed(images[[1]], numbers=[1], slots=[1])
        assert_same(accumulator.finish(), from_set)


def test_moments_are_those_of_the_descriptors(natural_images: Any) -> None:
    statistics = fed(natural_images(10, 32), 10)
    for size in statistics.sizes:
        rows = statistics.stores[size].read(np.arange(10)).swapaxes(1, 2)
        cube = rows.reshape(-1, 3, 49).astype(np.float64)
        moments = statistics.moments(size)
        np.testing.assert_allclose(moments.mean, cube.mean(axis=(0, 2)), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(moments.std, cube.std(axis=(0, 2)), rtol=1e-8)
        some = statistics.moments(size, np.array([2, 5]))
        part = cube.reshape(10, 16, 3, 49)[[2, 5]]
        np.testing.assert_allclose(some.mean, part.mean(axis=(0, 1, 3)), rtol=1e-9, atol=1e-9)


def test_reference_moments_are_float32_reductions(natural_images: Any) -> None:
    statistics = fed(natural_images(10, 32), 10)
    cube = statistics.stores[16].read(np.arange(10)).swapaxes(1, 2).reshape(-1, 3, 7, 7)
    mean = np.mean(cube, axis=(0, 2, 3), keepdims=True)
    assert mean.dtype == np.float32
    found = statistics.reference_moments(16)
    np.testing.assert_array_equal(found.mean, mean.ravel())
    np.testing.assert_array_equal(found.std, np.std(cube - mean, axis=(0, 2, 3)))


def test_reference_moments_leave_descriptors_alone(natural_images: Any) -> None:
    statistics = fed(natural_images(5, 32), 5, config=SwdConfig(patches=1))
    before = np.array(statistics.stores[32].read(np.arange(5)))
    statistics.reference_moments(32)
    np.testing.assert_array_equal(statistics.stores[32].read(np.arange(5)), before)


def test_shards_merge_to_the_whole(natural_images: Any, tmp_path: Path) -> None:
    images = natural_images(11, 32)
    whole = fed(images, 4)
    parts, starts = [], [0, 3, 7]
    for start, stop in ((0, 3), (3, 7), (7, 11)):
        with SwdAccumulator(res=32, n=stop - start, config=SMALL) as accumulator:
            accumulator.feed(images[start:stop], numbers=np.arange(start, stop))
            save_statistics(accumulator.finish(), tmp_path / f"shard-{start}")
        parts.append(load_statistics(tmp_path / f"shard-{start}"))
    merged = fed(np.zeros_like(images), 11)
    merge_statistics(parts[::-1], merged, starts[::-1])
    assert_same(merged, whole)
    with pytest.raises(BatchError, match="does not fit"):
        merge_statistics(parts[:1], merged, [9])
    other = fed(images[:3], 3, config=SwdConfig(patches=16, seed=1))
    with pytest.raises(BatchError, match="other parameters"):
        merge_statistics([other], merged, [0])


def test_grayscale_is_replicated(natural_images: Any) -> None:
    gray = natural_images(3, 32)[:, :1]
    assert_same(fed(gray, 3), fed(np.repeat(gray, 3, axis=1), 3))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((2, 3, 32, 32), np.float32), "found float32"),
        (np.zeros((2, 3, 16, 16), np.uint8), r"found \(2, 3, 16, 16\)"),
        (np.zeros((2, 2, 32, 32), np.uint8), r"found \(2, 2, 32, 32\)"),
        (np.zeros((3, 32, 32), np.uint8), r"found \(3, 32, 32\)"),
        (np.zeros((5, 3, 32, 32), np.uint8), "announced 4 images, got more"),
    ],
)
def test_wrong_batches_are_refused(batch: np.ndarray, message: str) -> None:
    with SwdAccumulator(res=32, n=4, config=SMALL) as accumulator, pytest.raises(BatchError, match=message):
        accumulator.feed(batch)


def test_missing_and_repeated_images_are_refused(natural_images: Any) -> None:
    images = natural_images(4, 16)
    with SwdAccumulator(res=16, n=4, config=SMALL) as accumulator:
        accumulator.feed(images[:2], slots=[0, 1])
        with pytest.raises(BatchError, match="slot 1 was filled"):
            accumulator.feed(images[2:3], slots=[1])
        with pytest.raises(BatchError, match="announced 4 images, got 2"):
            accumulator.finish()


def test_spilling_needs_room(tmp_path: Path) -> None:
    with pytest.raises(DiskSpaceError, match="GiB free"):
        SwdAccumulator(res=1024, n=1 << 30, memory=0, spill=tmp_path)
    with pytest.raises(DiskSpaceError, match="not a folder"):
        SwdAccumulator(res=16, n=4, memory=0, spill=tmp_path / "none")


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
    import sys, time, numpy as np
    from pathlib import Path
    from metrics.sliced.accumulator import SwdAccumulator
    accumulator = SwdAccumulator(res=64, n=64, memory=0, spill=Path(sys.argv[1]))
    accumulator.feed(np.zeros((32, 3, 64, 64), np.uint8))
    print("fed", flush=True)
    time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "fed\n"
        open_files = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert sum(str(tmp_path) in name for name in open_files) == 3
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_cache_keeps_and_finds_by_content(natural_images: Any, tmp_path: Path) -> None:
    images = as_image_set(natural_images(6, 32))
    numbers = np.arange(6)
    cache = StatisticsCache(tmp_path, limit=1 << 30)
    key = cache.key(images, numbers, "real", SMALL)
    wanted = {"config": SMALL, "role": "real", "res": 32, "n": 6}
    assert cache.load(key, **wanted) is None
    statistics = fed(natural_images(6, 32), 6)
    assert cache.store(key, statistics)
    found = cache.load(key, **wanted)
    assert found is not None
    assert_same(found, statistics)
    others = [
        cache.key(as_image_set(natural_images(6, 32, seed=1)), numbers, "real", SMALL),
        cache.key(images, numbers[:5], "real", SMALL),
        cache.key(images, numbers, "fake", SMALL),
        cache.key(images, numbers, "real", SwdConfig(patches=16, seed=1)),
    ]
    assert len({key, *others}) == 5
    assert cache.key(images, numbers, "real", SwdConfig(patches=16, directions=7)) == key


def test_cache_is_bounded_and_the_oldest_goes(natural_images: Any, tmp_path: Path) -> None:
    statistics = fed(natural_images(4, 16), 4)
    entry = 4 * 16 * 147 * 4
    cache = StatisticsCache(tmp_path, limit=2 * entry + 8000)
    for age, name in enumerate(("a", "b", "c")):
        assert cache.store(name, statistics)
        os.utime(cache.folder / name, (time.time() - 100 + age,) * 2)
    assert sorted(path.name for path in cache.folder.iterdir()) == ["b", "c"]
    assert not StatisticsCache(tmp_path, limit=entry - 1).store("d", statistics)


def test_damaged_entries_are_refused_and_replaced(natural_images: Any, tmp_path: Path) -> None:
    statistics = fed(natural_images(4, 16), 4)
    cache = StatisticsCache(tmp_path, limit=1 << 30)
    wanted = {"config": SMALL, "role": "real", "res": 16, "n": 4}

    def damage(name: str, change: Any) -> None:
        assert cache.store("k", statistics)
        file = cache.folder / "k" / name
        file.write_bytes(change(file.read_bytes()))
        with pytest.raises(CacheError):
            load_statistics(cache.folder / "k")
        assert cache.load("k", **wanted) is None
        assert not (cache.folder / "k").exists()

    damage("descriptors-16.npy", lambda data: data[:-1])
    damage("sums-16.npy", lambda data: data[:-1] + b"x")
    damage("statistics.json", lambda data: data.replace(b'"version": 2', b'"version": 1'))
    damage("statistics.json", lambda data: b"{")
    damage("numbers.npy", lambda data: b"")
