"""The page in a real browser, and what the server refuses."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celebahq_tools.errors import SourceError, UsageError
from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid
from celebahq_tools.view.select import Query, matching, query_of
from celebahq_tools.view.server import Viewer, ViewServer

COUNT = 60
RES = 16
EVIL = "<script>document.title='owned'</script>"


@pytest.fixture
def pyramid(tmp_path: Path) -> Path:
    path = tmp_path / "faces.h5"
    rows = [
        IndexRow(
            key=EVIL if k == 0 else f"face {k}",
            file=f"{k}.jpg",
            quality=k / 4,
            label=k % 2,
            partition=k % 3,
            attributes=(1 if k < 10 else -1, 1 if k % 2 else -1),
        )
        for k in range(COUNT)
    ]
    names = ("Male", "Young")
    create_pyramid(path, res=RES, rows=rows, meta=PyramidMeta(), attribute_names=names, label_names=("cat", "dog"))
    with SlotWriter(path) as writer:
        writer.write_run(0, np.random.default_rng(0).integers(0, 256, (COUNT, 3, RES, RES), dtype=np.uint8))
    reasons = ("corrupt", "no-face", "no-face")
    rejects = [{"key": f"r{k}", "file": EVIL, "reason": reason, "message": "m"} for k, reason in enumerate(reasons)]
    lines = [*(json.dumps(item) for item in rejects), "damaged"]
    (tmp_path / "faces.rejects.jsonl").write_text("\n".join(lines))
    return path


@pytest.fixture
def server(pyramid: Path) -> Iterator[ViewServer]:
    viewer = Viewer(pyramid)
    with ViewServer(viewer, 0) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.05,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()
    viewer.close()


def get(server: ViewServer, path: str, host: str | None = None) -> tuple[int, bytes]:
    address, port = server.server_address[0], server.server_address[1]
    connection = http.client.HTTPConnection(str(address), port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_only_this_machine_is_served(server: ViewServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/")[0] == 200
    assert get(server, "/", f"localhost:{server.server_address[1]}")[0] == 200
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert get(server, "/", host)[0] == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/thumb/3.png", 200),
        ("/image/59.png", 200),
        ("/image/60.png", 404),
        ("/image/-1.png", 404),
        ("/image/../../etc/passwd", 404),
        ("/image/%2e%2e/x.png", 404),
        ("/thumb/99999999999999999999.png", 404),
        ("/nothing", 404),
        ("/?page=x", 400),
        ("/?page=-1", 400),
        ("/?size=7", 400),
        ("/?low=nan", 400),
        ("/?have=Nobody", 400),
        ("/?page=999", 200),
    ],
)
def test_addresses(server: ViewServer, path: str, status: int) -> None:
    assert get(server, path)[0] == status


def test_names_are_escaped(server: ViewServer) -> None:
    for path in ("/", "/rejects"):
        body = get(server, path)[1]
        assert EVIL.encode() not in body
        assert b"&lt;script&gt;" in body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(have=("Male",)), list(range(10))),
        (Query(have=("Male",), lack=("Young",)), [0, 2, 4, 6, 8]),
        (Query(label=1, high=1), [1, 3]),
        (Query(low=14.5), [58, 59]),
        (Query(low=14.5, order="quality-down"), [59, 58]),
        (Query(partition=2, high=2), [2, 5, 8]),
        (Query(text="FACE 5"), [5, *range(50, 60)]),
    ],
)
def test_filters(pyramid: Path, query: Query, expected: list[int]) -> None:
    with PyramidReader(pyramid) as reader:
        assert matching(reader, query).tolist() == expected


def test_queries_are_read_from_addresses() -> None:
    values = {"have": ["Male", "Young"], "low": ["1.5"], "page": ["2"], "size": ["24"], "label": [""]}
    assert query_of(values) == Query(have=("Male", "Young"), low=1.5, page=2, size=24)
    with pytest.raises(UsageError):
        query_of({"order": ["backwards"]})


def test_files_without_an_index_are_shown(make_authors_file: Callable[..., tuple[Path, np.ndarray]]) -> None:
    path, _ = make_authors_file()
    viewer = Viewer(path)
    assert "5</span> of 5 images" in viewer.images(Query())
    viewer.close()
    with pytest.raises(SourceError):
        Viewer(path.with_name("nowhere.h5"))


@pytest.mark.slow
def test_the_page_in_chromium(server: ViewServer, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.expected_conditions import staleness_of
    from selenium.webdriver.support.ui import Select, WebDriverWait

    def shown() -> list[str]:
        return [image.get_attribute("alt") for image in browser.find_elements(By.CSS_SELECTOR, "ul.images img")]

    def press(by: str, what: str) -> None:
        before = browser.find_element(By.TAG_NAME, "html")
        browser.find_element(by, what).click()
        WebDriverWait(browser, 10).until(staleness_of(before))

    browser.get(server.url)
    assert browser.title == "faces.h5", "a name was run as a script"
    assert shown() == [f"image {k}" for k in range(48)]
    first = browser.find_element(By.CSS_SELECTOR, "ul.images img")
    WebDriverWait(browser, 10).until(lambda _: first.get_property("naturalWidth") == RES)
    press(By.CSS_SELECTOR, "a[rel=next]")
    assert shown() == [f"image {k}" for k in range(48, COUNT)]
    assert browser.find_element(By.ID, "page").text == "page 2 of 2"
    assert not browser.find_elements(By.CSS_SELECTOR, "a[rel=next]")

    browser.get(server.url)
    Select(browser.find_element(By.NAME, "have")).select_by_visible_text("Male")
    browser.find_element(By.NAME, "low").send_keys("2")
    Select(browser.find_element(By.NAME, "order")).select_by_visible_text("best first")
    press(By.TAG_NAME, "button")
    assert shown() == ["image 9", "image 8"]
    assert browser.find_element(By.ID, "count").text == "2"

    press(By.PARTIAL_LINK_TEXT, "Rejected pictures (3)")
    Select(browser.find_element(By.NAME, "reason")).select_by_value("no-face")
    press(By.TAG_NAME, "button")
    rows = browser.find_elements(By.CSS_SELECTOR, "#rejects tbody tr")
    assert [row.find_element(By.TAG_NAME, "td").text for row in rows] == ["no-face", "no-face"]
    assert browser.title == "faces.h5"
