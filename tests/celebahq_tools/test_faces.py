"""Finding the landmark model, faces in photographs, and where their landmarks lie."""

import bz2
import pickle
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from celebahq_tools import landmarks_model
from celebahq_tools.decode import decode_picture
from celebahq_tools.errors import FormatError, MissingDependencyError, UsageError
from celebahq_tools.faces import Face, FaceFinder, find_landmarks_model, five_from_68
from celebahq_tools.sources import open_sample

MODEL = landmarks_model.MODEL_FILE


@pytest.fixture(scope="module")
def model() -> Path:
    pytest.importorskip("dlib")
    try:
        return find_landmarks_model()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def finder(model: Path) -> FaceFinder:
    """Finds all faces; opened once, for the model takes its time."""
    return FaceFinder(model, 0, "all")


def like(finder: FaceFinder, min_face_px: float, which: str) -> FaceFinder:
    """A finder with other wishes and the tools of `finder`, already open."""
    other = FaceFinder(finder.model_path, min_face_px, which)  # type: ignore[arg-type]
    other._tools = finder._opened()
    return other


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No package carries the model; returns an empty folder that is searched like a system folder."""
    folder = tmp_path / "usr-share-dlib"
    folder.mkdir()
    monkeypatch.setattr(landmarks_model, "_package_folders", list)
    monkeypatch.setattr(landmarks_model, "SYSTEM_FOLDERS", (folder,))
    return folder


def sample(file: str) -> np.ndarray:
    with open_sample() as source:
        return decode_picture(source.read(file), name=file)


def test_absent_model_says_every_way_to_get_it(nowhere: Path) -> None:
    with pytest.raises(MissingDependencyError) as caught:
        find_landmarks_model()
    message = str(caught.value)
    for words in ("celebahq-tools[faces]", "face-recognition-models", "apt install libdlib-data", "--landmarks-model"):
        assert words in message
    assert message.isprintable()


def test_system_folder_is_searched(nowhere: Path) -> None:
    (nowhere / MODEL).write_bytes(b"model")
    assert find_landmarks_model() == nowhere / MODEL


def test_explicit_path_comes_first(nowhere: Path, tmp_path: Path) -> None:
    (nowhere / MODEL).write_bytes(b"model")
    (tmp_path / "mine.dat").write_bytes(b"mine")
    assert find_landmarks_model(tmp_path / "mine.dat") == tmp_path / "mine.dat"
    with pytest.raises(MissingDependencyError, match=r"typo\.dat: no such file"):
        find_landmarks_model(tmp_path / "typo.dat")


def test_packed_model_is_unpacked_once(nowhere: Path, tmp_path: Path) -> None:
    (nowhere / f"{MODEL}.bz2").write_bytes(bz2.compress(b"model" * 1000))
    cache = tmp_path / "cache"
    path = find_landmarks_model(cache=cache)
    assert path.parent == cache
    assert path.read_bytes() == b"model" * 1000
    changed = path.stat().st_mtime_ns
    assert find_landmarks_model(cache=cache) == path
    assert path.stat().st_mtime_ns == changed
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize("data", [b"", b"not bzip2", bz2.compress(b"model" * 1000)[:-10]])
def test_damaged_packed_model_leaves_nothing_behind(nowhere: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.dat.bz2").write_bytes(data)
    cache = tmp_path / "cache"
    with pytest.raises(FormatError, match=r"model\.dat\.bz2: cannot be unpacked"):
        find_landmarks_model(tmp_path / "model.dat.bz2", cache=cache)
    assert list(cache.iterdir()) == []


def test_packed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks_model, "MAX_MODEL_BYTES", 1 << 20)
    (tmp_path / "model.dat.bz2").write_bytes(bz2.compress(bytes(4 << 20)))
    with pytest.raises(FormatError, match="more than 1,048,576 bytes"):
        find_landmarks_model(tmp_path / "model.dat.bz2", cache=tmp_path / "cache")


def test_package_is_found_without_being_imported() -> None:
    landmarks_model._package_folders()
    assert landmarks_model.MODEL_PACKAGE not in sys.modules


@pytest.mark.parametrize("data", [b"", b"rubbish" * 100])
def test_damaged_model(tmp_path: Path, data: bytes) -> None:
    pytest.importorskip("dlib")
    (tmp_path / "model.dat").write_bytes(data)
    finder = FaceFinder(tmp_path / "model.dat")
    with pytest.raises(FormatError, match=r"model\.dat: cannot be opened") as caught:
        finder.find(np.zeros((100, 100, 3), np.uint8))
    assert str(caught.value).isprintable()


@pytest.mark.weights
def test_truncated_model(model: Path, tmp_path: Path) -> None:
    with model.open("rb") as file:
        (tmp_path / "model.dat").write_bytes(file.read(1 << 20))
    with pytest.raises(FormatError, match="cannot be opened"):
        FaceFinder(tmp_path / "model.dat").find(np.zeros((100, 100, 3), np.uint8))


@pytest.mark.weights
def test_model_with_other_points(model: Path) -> None:
    other = model.with_name("shape_predictor_5_face_landmarks.dat")
    if not other.is_file():
        pytest.skip("the package with the model has no 5-point model beside it")
    with pytest.raises(FormatError, match="expected 68 points, found 5"):
        FaceFinder(other).find(np.zeros((100, 100, 3), np.uint8))


def test_missing_dlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingDependencyError, match="pip install dlib-bin"):
        FaceFinder(tmp_path / "model.dat").find(np.zeros((100, 100, 3), np.uint8))


def test_unknown_choice_of_faces() -> None:
    with pytest.raises(UsageError, match="'largest' or 'all'"):
        FaceFinder(Path("model.dat"), which="some")  # type: ignore[arg-type]


def test_five_landmarks_from_sixty_eight() -> None:
    points = np.zeros((68, 2))
    points[36:42] = [(0, 1), (1, 0), (2, 0), (3, 1), (2, 2), (1, 2)]
    points[42:48] = points[36:42] + np.array([10, 0])
    points[30], points[48], points[54] = (6, 5), (2, 9), (11, 9)
    assert five_from_68(points).tolist() == [[1.5, 1], [11.5, 1], [6, 5], [2, 9], [11, 9]]


def test_crop_side_follows_the_paper() -> None:
    wide = np.array([(0, 0), (10, 0), (5, 5), (2, 10), (8, 10)], float)
    assert Face(wide, np.zeros((68, 2)), (0, 0, 1, 1), 1.0).crop_side == 40
    tall = np.array([(0, 0), (10, 0), (5, 8), (2, 20), (8, 20)], float)
    assert Face(tall, np.zeros((68, 2)), (0, 0, 1, 1), 1.0).crop_side == pytest.approx(72)


@pytest.mark.weights
def test_no_face_in_noise(finder: FaceFinder) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert finder.find(pixels) == []
    assert finder.find(np.zeros((4, 4, 3), np.uint8)) == []


@pytest.mark.weights
@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0, 5.0])
def test_landmarks_scale_with_the_picture(finder: FaceFinder, scale: float) -> None:
    pixels = sample("000001.jpg")
    expected = finder.find(pixels)[0].landmarks
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=method)
    found = finder.find(resized)[0].landmarks
    eye_to_eye = np.hypot(*(expected[1] - expected[0]))
    # Half a pixel of the original, and what less detail costs the smallest.
    allowed = 0.03 * eye_to_eye if scale >= 0.5 else 0.1 * eye_to_eye
    assert np.abs((found + 0.5) / scale - 0.5 - expected).max() < allowed


@pytest.mark.weights
def test_landmarks_move_with_the_picture(finder: FaceFinder) -> None:
    pixels = sample("000001.jpg")
    expected = finder.find(pixels)[0]
    moved = finder.find(np.pad(pixels, ((40, 0), (64, 0), (0, 0)), mode="reflect"))[0]
    assert np.abs(moved.landmarks - expected.landmarks - [64, 40]).max() < 1.5


@pytest.mark.weights
def test_all_faces_biggest_first(finder: FaceFinder) -> None:
    big = sample("000002.jpg")
    small = cv2.resize(sample("000003.jpg"), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    tiny = cv2.resize(big, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    canvas = np.full((800, 1200, 3), 128, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    canvas[:, 480:] = big
    faces = finder.find(canvas)
    assert len(faces) == 2
    assert faces[0].crop_side > faces[1].crop_side
    assert faces[0].landmarks[2, 0] > 480
    assert faces[1].landmarks[2, 0] < small.shape[1]
    largest = like(finder, 0, "largest").find(canvas)
    assert [face.box for face in largest] == [faces[0].box]
    limit = faces[1].crop_side + 1
    assert len(like(finder, limit, "all").find(canvas)) == 1
    # Never nothing: whoever asks can say how small the biggest was.
    assert len(like(finder, 10_000, "all").find(tiny)) == 1


@pytest.mark.weights
def test_finder_travels_and_works_in_threads(model: Path) -> None:
    pixels = sample("000001.jpg")
    pixels.flags.writeable = False
    finder = FaceFinder(model, 10, "all")
    expected = finder.find(pixels)
    assert len(pickle.dumps(finder)) < 1000
    copy = pickle.loads(pickle.dumps(finder))  # noqa: S301
    results: list[list[Face]] = []
    threads = [threading.Thread(target=lambda: results.append(copy.find(pixels))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for faces in results:
        assert len(faces) == len(expected)
        np.testing.assert_array_equal(faces[0].landmarks68, expected[0].landmarks68)


PORTRAITS = {
    "astronaut.png": 1,
    "biden.jpg": 1,
    "bruce-mars.jpg": 1,
    "ivana-square.jpg": 1,
    "kal-visuals-square.jpg": 1,
    "marie.jpg": 1,
    "obama.jpg": 1,
    "obama2.jpg": 1,
    "obama3.jpg": 1,
    "obama_partial_face.jpg": 1,
    "team-1.jpg": 1,
    "team-3.jpg": 1,
    "team-4.jpg": 1,
}


@pytest.mark.weights
@pytest.mark.shared
@pytest.mark.parametrize("name", PORTRAITS)
def test_faces_in_real_photographs(finder: FaceFinder, shared: Path, name: str) -> None:
    pixels = decode_picture((shared / "data" / "faces" / name).read_bytes(), name=name)
    faces = finder.find(pixels)
    assert len(faces) == PORTRAITS[name]
    points = faces[0].landmarks
    assert points[0, 0] < points[1, 0]
    assert points[:2, 1].mean() < points[2, 1] < points[3:, 1].mean()
    assert faces[0].crop_side > 100


@pytest.mark.weights
@pytest.mark.shared
def test_most_small_portraits_have_a_face(finder: FaceFinder, shared: Path) -> None:
    files = sorted((shared / "data" / "faces").glob("small-*.jpg"))
    found = sum(bool(finder.find(decode_picture(file.read_bytes(), name=file.name))) for file in files)
    assert len(files) == 72
    assert found >= 55
