"""Reading pyramid files: selections, blocks, processes and threads, the authors' files."""

import functools
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celebahq_tools.errors import FormatError
from celebahq_tools.pyramid import build_levels
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, create_pyramid
from celebahq_tools.store.blocks import shuffled_order
from celebahq_tools.store.repack import repack_pyramid

MakeStore = Callable[..., tuple[Path, np.ndarray]]


@pytest.fixture(params=["contiguous", "gzip"])
def stored(request: pytest.FixtureRequest, make_store: MakeStore) -> tuple[Path, np.ndarray]:
    """The same 23 images, as built and repacked."""
    path, images = make_store(count=23, res=32)
    if request.param == "gzip":
        repack_pyramid(path, path.with_name("packed.h5"), compression="gzip")
        path = path.with_name("packed.h5")
    return path, images


def test_what_a_reader_knows(stored: tuple[Path, np.ndarray]) -> None:
    reader = PyramidReader(stored[0])
    assert len(reader) == 23
    assert reader.resolution == 32
    assert reader.levels == (32, 16, 8, 4)
    assert reader.attribute_names == ("Male", "Smiling", "Young")
    assert reader.label_names == ("cat", "dog")
    assert reader.labels is not None
    assert reader.labels.tolist() == [0, -1] * 11 + [0]


@pytest.mark.parametrize(
    "which",
    [
        [4],
        [5, 3, 3, 22, 0],
        [-1, -23],
        [],
        slice(None),
        slice(20, 3, -4),
        slice(-3, None),
        np.array([1, 2, 3, 7, 8], np.uint16),
        range(10, 20),
    ],
    ids=str,
)
def test_selections(stored: tuple[Path, np.ndarray], which: object) -> None:
    path, images = stored
    selection = which if isinstance(which, slice) else np.array(which, np.int64)
    with PyramidReader(path) as reader:
        for res, pixels in build_levels(images).items():
            found = reader.read(which, res)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found, pixels[selection])
            assert found.flags.writeable
            assert found.flags.c_contiguous
        np.testing.assert_array_equal(reader.read(7), images[7])
        np.testing.assert_array_equal(reader.read(np.int64(-2)), images[-2])


def test_bad_selections(stored: tuple[Path, np.ndarray]) -> None:
    reader = PyramidReader(stored[0])
    for which in (23, -24, [0, 23], [-24]):
        with pytest.raises(IndexError, match=r"outside 0\.\.22"):
            reader.read(which)
    with pytest.raises(IndexError, match="integers"):
        reader.read(np.array([True, False]))
    with pytest.raises(IndexError, match="integers"):
        reader.read(np.array([0.5]))
    with pytest.raises(ValueError, match="no level 2; it has 32, 16, 8, 4"):
        reader.read(0, 2)
    with pytest.raises(ValueError, match="batch must be positive"):
        reader.iter_blocks(4, 0)


def test_blocks_visit_every_image_once_and_repeat_with_the_seed(stored: tuple[Path, np.ndarray]) -> None:
    path, images = stored
    reader = PyramidReader(path)

    def visit(**options: object) -> tuple[list[int], list[int]]:
        numbers, sizes = [], []
        for chosen, batch in reader.iter_blocks(16, 5, **options):  # type: ignore[arg-type]
            np.testing.assert_array_equal(batch, build_levels(images)[16][chosen])
            numbers += chosen.tolist()
            sizes.append(len(batch))
        return numbers, sizes

    assert visit() == (list(range(23)), [5, 5, 5, 5, 3])
    assert visit(drop_last=True)[1] == [5, 5, 5, 5]
    assert visit(indices=[9, 2, -1]) == ([9, 2, 22], [3])
    first, _ = visit(rng=np.random.default_rng(1), block=4, window=2)
    again, _ = visit(rng=np.random.default_rng(1), block=4, window=2)
    other, _ = visit(rng=np.random.default_rng(2), block=4, window=2)
    assert first == again != other
    assert sorted(first) == sorted(other) == list(range(23))


@given(count=st.integers(0, 200), block=st.integers(1, 50), window=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_shuffled_order_is_a_permutation_that_stays_in_its_window(
    count: int, block: int, window: int, seed: int
) -> None:
    indices = np.arange(count, dtype=np.int64) * 3
    order = shuffled_order(indices, np.random.default_rng(seed), block=block, window=window)
    assert sorted(order) == list(indices)
    blocks = order // 3 // block
    # Every block is left behind within one window: reads stay local.
    for number in set(blocks.tolist()):
        places = np.flatnonzero(blocks == number)
        assert places[-1] - places[0] < block * window


def test_shuffling_mixes_across_blocks() -> None:
    order = shuffled_order(np.arange(1000), np.random.default_rng(0), block=10, window=10)
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.05
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.4
    for bad in ({"block": 0}, {"window": 0}):
        with pytest.raises(ValueError, match="must be positive"):
            shuffled_order(np.arange(3), np.random.default_rng(0), **bad)


def test_threads_share_a_reader(stored: tuple[Path, np.ndarray]) -> None:
    path, images = stored
    with PyramidReader(path) as reader, ThreadPoolExecutor(4) as pool:
        for number, image in enumerate(pool.map(reader.read, list(range(23)) * 4)):
            np.testing.assert_array_equal(image, images[number % 23])


def test_a_pickled_reader_reads(stored: tuple[Path, np.ndarray]) -> None:
    path, images = stored
    reader = PyramidReader(path)
    reader.read(0)
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301
    reader.close()
    np.testing.assert_array_equal(copy.read([3, 1]), images[[3, 1]])
    np.testing.assert_array_equal(reader.read(2), images[2])  # opens again


FORK_WHILE_READING = """
    import os, sys, threading, time
    import numpy as np
    from celebahq_tools.store import PyramidReader
    reader = PyramidReader(sys.argv[1])
    expected = reader.read(slice(None))
    stop = threading.Event()
    def keep_reading():
        while not stop.is_set():
            reader.read([5, 1, 9])
    threads = [threading.Thread(target=keep_reading) for _ in range(2)]
    for thread in threads:
        thread.start()
    failures = 0
    for _ in range(10):
        child = os.fork()
        if child == 0:
            same = np.array_equal(reader.read([7, 2, 8]), expected[[7, 2, 8]])
            same = same and reader.index.row(3).key == "plain 3"
            os._exit(0 if same else 1)
        failures += os.waitpid(child, 0)[1] != 0
        assert np.array_equal(reader.read([4]), expected[[4]])
    stop.set()
    for thread in threads:
        thread.join()
    print(failures)
"""


def test_forked_children_read_while_threads_of_the_parent_do(stored: tuple[Path, np.ndarray]) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK_WHILE_READING), str(stored[0])],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "0"


@pytest.mark.parametrize(
    ("stored", "context"), [("contiguous", "fork"), ("gzip", "fork"), ("gzip", "spawn")], indirect=["stored"]
)
def test_dataloader_workers(stored: tuple[Path, np.ndarray], context: str) -> None:
    data = pytest.importorskip("torch.utils.data")
    path, images = stored
    reader = PyramidReader(path)
    reader.read(0)  # open before the workers start
    loader = data.DataLoader(
        range(len(reader)),
        batch_size=4,
        collate_fn=functools.partial(reader.read, res=16),
        num_workers=2,
        multiprocessing_context=context,
    )
    np.testing.assert_array_equal(np.concatenate(list(loader)), build_levels(images)[16])


def test_fingerprint_is_the_contents(make_store: MakeStore) -> None:
    path, _ = make_store(name="a.h5")
    same, _ = make_store(name="b.h5")
    other, _ = make_store(name="c.h5", seed=1)
    repack_pyramid(path, path.with_name("d.h5"), compression="lzf")
    prints = [PyramidReader(path.with_name(name)).fingerprint() for name in ("a.h5", "b.h5", "c.h5", "d.h5")]
    assert prints[0].startswith("sha256-index:")
    assert prints[0] == prints[1] == prints[3] != prints[2]
    assert same != other


def test_fingerprint_refuses_unfinished_files(tmp_path: Path) -> None:
    path = tmp_path / "a.h5.partial"
    create_pyramid(path, res=8, rows=[IndexRow(key="k", file="f")], meta=PyramidMeta())
    with pytest.raises(FormatError, match="image 0 was never written"):
        PyramidReader(path, allow_partial=True).fingerprint()


def test_the_authors_files_open_unchanged(make_authors_file: MakeStore) -> None:
    labels = np.eye(10, dtype=np.float32)[[3, 1, 4, 1, 5]]
    path, images = make_authors_file(labels=labels)
    before = path.read_bytes()
    with PyramidReader(path) as reader:
        assert reader.levels == (16, 8, 4, 2, 1)
        assert not reader.has_index
        for res, pixels in build_levels(images, 1).items():
            np.testing.assert_array_equal(reader.read(slice(None), res), pixels)
            np.testing.assert_array_equal(reader.read([4, 0, 1], res), pixels[[4, 0, 1]])
        np.testing.assert_array_equal(reader.labels, labels)
        assert reader.fingerprint().startswith("sha256-16x16:")
        assert reader.fingerprint() == PyramidReader(path).fingerprint()
        with pytest.raises(FormatError, match="has no index"):
            _ = reader.index
    assert path.read_bytes() == before


def test_the_authors_files_without_labels(make_authors_file: MakeStore) -> None:
    assert PyramidReader(make_authors_file()[0]).labels is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 10), np.float32), r"shape \(4, 10\), expected \(5, L\)"),
        (np.zeros(5, np.float32), r"shape \(5,\)"),
        (np.array([{"a": 1}] * 5, dtype=object), "not a readable .npy array"),
    ],
)
def test_bad_label_files_are_refused(make_authors_file: MakeStore, labels: np.ndarray, message: str) -> None:
    path, _ = make_authors_file(labels=labels)
    with pytest.raises(FormatError, match=message):
        _ = PyramidReader(path).labels
