"""The page of `metrics report` in a real browser."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metrics.report.build import ReportConfig, build_report
from metrics.report.page import render_page
from metrics.report.write import write_report

NARROW = 360


@pytest.fixture
def opened(browser: Any, make_run: Callable[..., Path], tmp_path: Path) -> Any:
    """The browser with the page of two runs, freshly loaded from a file."""
    runs = (make_run("<b>one"), make_run("two", seed=1))
    page = tmp_path / "report.html"
    write_report(render_page(build_report(ReportConfig(paths=runs, extractor="tiny", samples=2))), page)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.set_window_size(1280, 1000)
    browser.get(page.as_uri())
    return browser


def test_loads_without_errors_and_asks_for_nothing(opened: Any) -> None:
    assert opened.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert {address.split(":")[0] for address in asked} <= {"file", "data"}
    assert len([address for address in asked if address.startswith("file:")]) == 1
    broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).length"
    assert opened.execute_script(broken) == 0
    assert opened.execute_script("return [...document.images].every(i => i.alt.length > 0)")
    assert opened.execute_script("return document.querySelectorAll('h3 b').length") == 0


def test_the_slider_shows_the_snapshot_and_works_by_keyboard(opened: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    slider = opened.find_element(By.CSS_SELECTOR, "[data-slider]")
    knob = slider.find_element(By.CSS_SELECTOR, "input[type=range]")
    frames = slider.find_elements(By.CSS_SELECTOR, ".frames figure")
    assert [frame.is_displayed() for frame in frames] == [False, True]
    knob.send_keys(Keys.ARROW_LEFT)
    assert [frame.is_displayed() for frame in frames] == [True, False]
    assert slider.find_element(By.CSS_SELECTOR, "output").text == "10 kimg"
    assert knob.get_attribute("aria-valuetext") == "10 kimg"


def test_tables_sort_by_a_button_and_say_so(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    table = opened.find_element(By.CSS_SELECTOR, "#summary table.sortable")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    column = next(place for place, head in enumerate(heads) if head.text.startswith("value"))

    def values() -> list[float]:
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        return [float(row.find_elements(By.TAG_NAME, "td")[column].text) for row in rows]

    button = heads[column].find_element(By.TAG_NAME, "button")
    button.click()
    assert len(values()) == 4
    assert values() == sorted(values())
    assert heads[column].get_attribute("aria-sort") == "ascending"
    button.click()
    assert values() == sorted(values(), reverse=True)
    assert heads[column].get_attribute("aria-sort") == "descending"


def test_charts_tell_values_and_hide_series(opened: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    chart = opened.find_element(By.CSS_SELECTOR, "#curves .chartbox")
    chart.find_element(By.CSS_SELECTOR, ".plot").send_keys(Keys.ARROW_RIGHT)
    tip = chart.find_element(By.CSS_SELECTOR, ".tip")
    assert tip.text.startswith("<b>one, 10 kimg: ")
    box = chart.find_element(By.CSS_SELECTOR, ".legend input")
    marks = chart.find_elements(By.CSS_SELECTOR, "svg .marks.s0")
    assert marks
    box.click()
    assert {mark.get_attribute("class").endswith("hidden") for mark in marks} == {True}


def test_nothing_is_wider_than_a_telephone(opened: Any) -> None:
    override = {"width": NARROW, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", override)
    assert opened.execute_script("return document.documentElement.scrollWidth") == NARROW
    opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.execute_script("return document.documentElement.scrollWidth") == NARROW


def test_dark_and_light(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    def background() -> str:
        return str(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))

    def prefer(scheme: str) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    prefer("light")
    assert background() == "rgb(255, 255, 255)"
    prefer("dark")
    dark = background()
    assert dark != "rgb(255, 255, 255)"
    prefer("light")
    opened.find_element(By.ID, "theme").click()
    assert background() == dark


def test_print_shows_every_snapshot(opened: Any) -> None:
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "return [...document.querySelectorAll('.frames figure')].map(f => getComputedStyle(f).display)"
        assert set(opened.execute_script(shown)) == {"block"}
        printed = opened.execute_cdp_cmd("Page.printToPDF", {})
        assert len(printed["data"]) > 10_000
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_saving_the_numbers_breaks_no_rule(opened: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    opened.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    opened.find_element(By.ID, "save").click()
    assert opened.get_log("browser") == []


def test_the_policy_stops_scripts_that_are_not_its_own(opened: Any) -> None:
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.intruder = 1'; document.body.append(s)"
    )
    assert opened.execute_script("return window.intruder === undefined")
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))
