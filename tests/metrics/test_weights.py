import hashlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from metrics import weights as weights_module
from metrics.errors import WeightsError
from metrics.weights import (
    INCEPTION_2015,
    WeightsBytes,
    WeightsFile,
    cache_folder,
    fetch,
    load_state_dict,
    read_weights,
)

CONTENT = b"weights " * 1000
SPEC = WeightsFile(
    name="net-abc.pth",
    url="https://example.org/net-abc.pth",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
)


class Server:
    """Answers each request with the next of `answers`: content, or an error to raise."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[str] = []

    def __call__(self, url: str, timeout_sec: float) -> Any:
        self.requests.append(url)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("METRICS_WEIGHTS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module.time, "sleep", lambda _: None)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_a_download_is_checked_kept_and_not_repeated(cache: Path) -> None:
    server, seen = Server(CONTENT), []
    found = read_weights(SPEC, opener=server, progress=lambda done, total: seen.append((done, total)))
    assert (found.data, found.standard, found.path) == (CONTENT, True, cache / SPEC.name)
    assert seen[-1] == (SPEC.size, SPEC.size)
    assert read_weights(SPEC, opener=server).data == CONTENT
    assert server.requests == [SPEC.url]
    assert files(cache) == [SPEC.name]


def test_a_failed_try_is_repeated(cache: Path) -> None:
    server = Server(OSError("connection reset"), CONTENT[:100], CONTENT)
    assert read_weights(SPEC, opener=server).standard
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("name not known"), "name not known"),
        (CONTENT[:-1], "7999 bytes, expected 8000"),
        (CONTENT + b"x", "more than the 8000 bytes"),
        (b"y" * len(CONTENT), "sha256"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_says_what_to_do(
    cache: Path, answer: bytes | Exception, reason: str
) -> None:
    with pytest.raises(WeightsError) as caught:
        read_weights(SPEC, opener=Server(answer, answer, answer))
    message = str(caught.value)
    for part in (reason, SPEC.name, SPEC.sha256[:8], SPEC.url, str(cache / SPEC.name), "--weights", "3 times"):
        assert part in message
    assert "\n" not in message
    assert files(cache) == []


def test_without_a_network_nothing_is_tried(cache: Path) -> None:
    server = Server()
    with pytest.raises(WeightsError, match="it is not there; get it"):
        read_weights(SPEC, download=False, opener=server)
    assert server.requests == []


def test_a_damaged_file_in_the_cache_is_not_used(cache: Path) -> None:
    cache.mkdir()
    (cache / SPEC.name).write_bytes(CONTENT[:-5])
    with pytest.raises(WeightsError, match=r"damaged or another file.*7995 bytes, expected 8000.*delete it"):
        read_weights(SPEC, opener=Server())


def test_the_variable_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere.pth"
    file.write_bytes(CONTENT)
    monkeypatch.setenv("METRICS_WEIGHTS", str(file))
    assert read_weights(SPEC, opener=Server()).path == file


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("METRICS_WEIGHTS", "CELEBAHQ_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert cache_folder() == Path("~/.cache/celebahq-tools").expanduser()
    for variable, value, expected in (
        ("XDG_CACHE_HOME", "/x", "/x/celebahq-tools"),
        ("CELEBAHQ_CACHE", "/c", "/c"),
        ("METRICS_WEIGHTS", "/w", "/w"),
    ):
        monkeypatch.setenv(variable, value)
        assert cache_folder() == Path(expected)


def test_a_file_of_ones_own_is_used_and_marked(tmp_path: Path, cache: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(b"other")
    found = read_weights(SPEC, own)
    assert (found.standard, found.sha256) == (False, hashlib.sha256(b"other").hexdigest())
    own.write_bytes(CONTENT)
    assert read_weights(SPEC, own).standard
    assert files(cache) == []


def test_a_missing_or_enormous_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match="cannot read weights"):
        read_weights(SPEC, tmp_path / "none.pth")
    big = tmp_path / "big.pth"
    big.write_bytes(b"12345")
    monkeypatch.setattr(weights_module, "MAX_WEIGHTS_BYTES", 4)
    with pytest.raises(WeightsError, match="more than the 4 allowed"):
        read_weights(SPEC, big)


def test_only_https_is_fetched(tmp_path: Path) -> None:
    for url in ("http://example.org/a", "file:///etc/passwd"):
        spec = WeightsFile(name="a", url=url, sha256="0", size=1)
        with pytest.raises(WeightsError, match="is not https"):
            fetch(spec, tmp_path / "a")
    redirects = weights_module._HttpsOnly()
    with pytest.raises(ValueError, match="is not https"):
        redirects.redirect_request(None, None, 302, "Found", {}, "http://example.org/a")


def test_the_published_file_is_named_by_its_hash() -> None:
    assert INCEPTION_2015.sha256.startswith("6726825d")
    assert INCEPTION_2015.sha256[:8] in INCEPTION_2015.name
    assert INCEPTION_2015.url.endswith(INCEPTION_2015.name)


def stored(value: Any, *, zipped: bool = True) -> WeightsBytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=zipped)
    return WeightsBytes(path=Path("some.pth"), data=buffer.getvalue(), sha256="0", standard=False)


EXPECTED = {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "count": torch.tensor(0)}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_of_the_right_keys_and_shapes_is_loaded(zipped: bool) -> None:
    loaded = load_state_dict(stored({**EXPECTED, "a.bias": torch.ones(2)}, zipped=zipped), EXPECTED)
    assert loaded["a.bias"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a.weight": torch.zeros(2, 3)}, r"2 of 3 keys missing \(a.bias ...\), 0 unknown"),
        ({**EXPECTED, "b": torch.zeros(1)}, r"0 of 3 keys missing, 1 unknown \(b ...\)"),
        ({**EXPECTED, "a.bias": torch.zeros(3)}, r"a.bias has shape \(3,\), expected \(2,\)"),
        ({**EXPECTED, "count": torch.tensor(0.5)}, "count has type torch.float32, expected torch.int64"),
        ({**EXPECTED, "a.bias": torch.tensor([0.0, float("nan")])}, "a.bias holds NaN"),
        ([torch.zeros(1)], "holds list, expected a state dict"),
    ],
)
def test_other_contents_are_refused(content: Any, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_state_dict(stored(content), EXPECTED)


class Trap:
    """Unpickling one would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "executed"))


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_code_in_a_file_is_not_executed(tmp_path: Path, how: str) -> None:
    mark = tmp_path / "mark"
    content = pickle.dumps(Trap(mark)) if how == "pickle" else stored({"a": Trap(mark)}).data
    with pytest.raises(WeightsError, match="not a readable weights file"):
        load_state_dict(WeightsBytes(path=Path("x"), data=content, sha256="", standard=False), EXPECTED)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_truncated_files_are_refused(keep: float) -> None:
    whole = stored(EXPECTED).data
    cut = whole[: int(keep if keep > 1 else keep * len(whole))]
    with pytest.raises(WeightsError, match="not a readable weights file"):
        load_state_dict(WeightsBytes(path=Path("x"), data=cut, sha256="", standard=False), EXPECTED)


def test_a_zip_of_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="not a readable weights file"):
        load_state_dict(WeightsBytes(path=Path("x"), data=buffer.getvalue(), sha256="", standard=False), EXPECTED)
