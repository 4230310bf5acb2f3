"""How large a page of `metrics report` is, how long it takes to write, and how long Chromium takes to open it.

    python -m benchmarks.report [--snapshots 10] [--res 128] [--rounds 5]

One run with grids of 64 images each, of noise with structure at every scale, which compresses worse than photographs.
Opening is from the navigation's start to the end of the load event, by the browser's own clock, in a new tab each
time; without selenium, chromium and chromedriver it is left out.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.random_images import write_random_pyramid
from benchmarks.record import Spread, write_results
from benchmarks.synthetic_run import write_run
from metrics.report.build import ReportConfig, build_report
from metrics.report.page import render_page
from metrics.report.write import write_report

LOAD_MS = """
const done = arguments[0];
const told = () => done(performance.getEntriesByType("navigation")[0].loadEventEnd);
const wait = () => performance.getEntriesByType("navigation")[0].loadEventEnd > 0 ? told() : setTimeout(wait, 10);
wait();
"""


def opening_seconds(page: Path, rounds: int) -> list[float]:
    """Seconds until the load event has ended; empty without a browser."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    try:
        from selenium import webdriver
    except ImportError:
        return []
    if binary is None or driver is None:
        return []
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        readings = []
        for _ in range(rounds + 1):
            browser.switch_to.new_window("tab")
            browser.get(page.as_uri())
            readings.append(browser.execute_async_script(LOAD_MS) / 1000)
        return readings[1:]  # the first one also starts the browser's processes
    finally:
        browser.quit()


def main() -> None:
    """Write a page, look at its size, open it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=10)
    parser.add_argument("--res", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_random_pyramid(Path(folder) / "data.h5", n=256, res=options.res, seed=0)
        kimgs = range(10, 10 * options.snapshots + 10, 10)
        run = write_run(Path(folder) / "run", data, kimgs=kimgs, res=options.res)
        page = Path(folder) / "report.html"
        config = ReportConfig(paths=(run,), extractor="tiny")
        writing = []
        for _ in range(2):
            started = time.perf_counter()
            size = write_report(render_page(build_report(config)), page)
            writing.append(time.perf_counter() - started)
        opening = opening_seconds(page, options.rounds)
    print(f"{options.snapshots} snapshots of 64 images of {options.res}²: {size / 1e6:.2f} MB")
    print(f"  written in {Spread.of(writing).text()} s")
    print(f"  opened in {Spread.of(opening).text()} s" if opening else "  no browser to open it with")
    figures = {"size": ([size / 1e6], "MB"), "writing": (writing, "s"), "opening": (opening, "s")}
    results = {
        "config": vars(options),
        "page_bytes": size,
        "writing_sec": writing,
        "opening_sec": opening,
        "figures": {
            name: {**Spread.of(readings).plain(), "unit": unit, "better": "lower"}
            for name, (readings, unit) in figures.items()
            if readings
        },
    }
    print(f"written to {write_results('report', results)}")


if __name__ == "__main__":
    main()
