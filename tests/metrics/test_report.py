"""What `metrics report` makes of runs, results and benchmark records."""

import csv
import importlib.util
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import metrics
from metrics.cli import main
from metrics.errors import ReportError, UsageError
from metrics.protocol import write_json
from metrics.report.build import ReportConfig, build_report
from metrics.report.curves import MAX_POINTS, Point, Series, summed_up, thinned
from metrics.report.grids import cut
from metrics.report.inputs import read_file, read_inputs
from metrics.report.levels import level_views
from metrics.report.neighbours import find_neighbours
from metrics.report.page import render_page, script_json
from metrics.report.pictures import encoded, tiled
from metrics.report.plain import report_json
from metrics.report.published import published
from metrics.report.runs import read_run
from metrics.report.tables import comma_separated, markdown

MakeRun = Callable[..., Path]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|=cmd"
PAGE_LIMIT = 15_000_000


def report_on(*paths: Path, **options: Any) -> Any:
    return build_report(ReportConfig(paths=paths, **{"extractor": "tiny", "samples": 3, **options}))


class Elements(HTMLParser):
    """Every start tag of a page, its event handlers and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "xlink:href")]


def elements(page: str) -> Elements:
    found = Elements()
    found.feed(page)
    return found


def test_a_page_needs_nothing_from_elsewhere(make_run: MakeRun) -> None:
    page = render_page(report_on(make_run("one")))
    found = elements(page)
    assert found.handlers == []
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert found.tags.count("script") == 2
    assert "link" in found.tags
    assert "default-src &#39;none&#39;" in page
    assert "unsafe" not in page.split("<style>")[0]


def test_every_section_is_there(make_run: MakeRun) -> None:
    run = make_run("one")
    (run / "fakes000010.png").replace(run / "keep.png")
    Image.open(run / "keep.png").save(run / "interpolation.png")
    (run / "keep.png").replace(run / "fakes000010.png")
    report = report_on(run)
    page = render_page(report)
    for name in ("summary", "curves", "samples", "neighbours", "levels", "data", "effort", "sources"):
        assert f'<section id="{name}"' in page, name
    assert "A walk between latents" in page
    assert report.missing == ()
    assert [view.level for view in report.levels[0][1]] == [32, 16]
    titles = [curve.title for _, curves in report.curves for curve in curves]
    assert "SWD at level 32" in titles
    assert "SWD at level 16" in titles


def test_values_of_unlike_protocols_share_no_table_and_no_column(make_run: MakeRun) -> None:
    report = report_on(make_run("one"), make_run("two", seed=1), make_run("other", n=48))
    swd = [group for group in report.groups if group.metric == "swd"]
    assert [{score.run for score in group.scores} for group in swd] == [{"one", "two"}, {"other"}]
    assert any("sets.fake.n: 64 in swd A, 48 in swd B" in line for line in swd[1].differs)
    rows = list(csv.DictReader(io.StringIO(comma_separated(report))))
    values = [row for row in rows if row["quantity"] == "value"]
    assert len(values) == 12
    for row in values:
        filled = [name for name in row if " " in name and row[name]]
        assert len(filled) == 1
        assert (filled[0].endswith("B")) == (row["run"] == "other")
    for _, curves in report.curves:
        for curve in curves:
            names = {series.name for series in curve.series}
            assert not ("other" in names and names & {"one", "two"})


def test_all_formats_say_the_same_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("one")
    for form in ("html", "md", "csv", "json"):
        out = tmp_path / f"report.{form}"
        done = CliRunner().invoke(main, ["report", str(run), "-o", str(out), "--quiet", "--samples", "2"])
        assert done.exit_code == 0, done.output
    plain = json.loads((tmp_path / "report.json").read_text())
    value = plain["groups"][0]["scores"][-1]["value"]
    assert f"{value:.5g}" in (tmp_path / "report.md").read_text()
    assert str(value) in (tmp_path / "report.csv").read_text()
    page = (tmp_path / "report.html").read_text()
    assert f"{value:.5g}" in page
    embedded = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', page)
    assert embedded is not None
    assert json.loads(embedded[1])["groups"][0]["scores"][-1]["value"] == value
    assert not list(tmp_path.glob("*.partial"))


def test_hostile_names_labels_and_json_are_only_text(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("<img src=x onerror=alert(3)>", label=HOSTILE)
    config = json.loads((run / "config.json").read_text())
    config["preset"] = config["machine"] = HOSTILE
    config["config"][HOSTILE] = {HOSTILE: "\u2028\u0000\ud800"}
    (run / "config.json").write_text(json.dumps(config))
    for path in (run / "metrics").glob("*.json"):
        plain = json.loads(path.read_text())
        plain["unit"] = plain["noise_floor_method"] = HOSTILE
        plain["warnings"] = [HOSTILE]
        plain["protocol"]["settings"][HOSTILE] = HOSTILE
        for stamp in plain["protocol"]["sets"].values():
            stamp["label"] = HOSTILE
        path.write_text(json.dumps(plain))
    bench = tmp_path / "bench.json"
    figures = {HOSTILE: {"median": 1.0, "unit": HOSTILE, "better": "lower"}}
    bench.write_text(json.dumps({"benchmark": HOSTILE, "command": HOSTILE, "figures": figures}))
    report = report_on(run, bench, title=HOSTILE)
    page = render_page(report)
    found = elements(page)
    assert found.handlers == []
    assert found.tags.count("script") == 2
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    text = markdown(report)
    assert "<script" not in text
    assert not re.search(r"[^\\]\|=cmd", text)
    first = next(csv.reader(io.StringIO(comma_separated(report))))
    assert len(first) == 8 + len(report.groups)
    json.dumps(report_json(report), allow_nan=False)


def test_spreadsheets_get_no_formulas(make_run: MakeRun) -> None:
    run = make_run("one")
    for path in (run / "metrics").glob("*.json"):
        plain = json.loads(path.read_text())
        for stamp in plain["protocol"]["sets"].values():
            stamp["label"] = "=1+1"
        path.write_text(json.dumps(plain))
    rows = list(csv.DictReader(io.StringIO(comma_separated(report_on(run)))))
    assert {row["set"] for row in rows} == {"", "'=1+1"}


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_ten_snapshots_of_sixty_four_images_stay_small(make_run: MakeRun) -> None:
    run = make_run("big", kimgs=range(10, 110, 10), res=128, measure=False)
    page = render_page(report_on(run))
    assert page.count("kimg, from fixed latents") == 10
    assert len(page.encode()) < PAGE_LIMIT


def test_the_log_alone_gives_values_without_protocol(make_run: MakeRun) -> None:
    run = make_run("one")
    for path in (run / "metrics").glob("*.json"):
        path.unlink()
    (group, _) = report_on(run, pictures=False).groups
    assert group.protocol[0][1].startswith("not stated")
    assert len(group.scores) == 2
    assert set(group.levels) == {"32", "16"}


def test_a_run_still_going_is_read_as_far_as_it_got(make_run: MakeRun) -> None:
    run = make_run("one")
    log = run / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: whole.rindex(b'"reason"')])
    read = read_run(run, "one")
    assert len(read.ticks) == 2
    assert read.stops == ()
    log.write_bytes(b"{broken\n" + whole)
    with pytest.raises(ReportError, match=r"log\.jsonl, line 1 is not JSON"):
        read_run(run, "one")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "holds a JSON list"),
        ("a.json", '{"schema": "other"}', "neither a metrics result"),
        ("a.json", '{"schema": "celebahq-tools/metrics-result", "schema_version": 9}', "result version 9"),
        ("a.json", '{"schema": "celebahq-tools/metrics-result", "schema_version": 1, "metric": "x"}', "is damaged"),
    ],
)
def test_files_that_are_no_results_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ReportError, match=message) as caught:
        read_file(tmp_path / name)
    assert name in str(caught.value)


def test_nothing_there_and_nothing_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="does not exist"):
        read_inputs([tmp_path / "absent"])
    with pytest.raises(ReportError, match="is no run"):
        read_inputs([tmp_path])
    with pytest.raises(UsageError, match="nothing to report on"):
        ReportConfig(paths=())
    done = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(tmp_path / "x.pdf")])
    assert done.exit_code == 2
    assert "--format" in done.output


def test_a_damaged_picture_is_named(make_run: MakeRun) -> None:
    run = make_run("one")
    (run / "fakes000010.png").write_bytes(b"no picture")
    with pytest.raises(ReportError, match=r"fakes000010\.png is not a readable picture"):
        report_on(run)


def test_hours_follow_the_number_of_devices(make_run: MakeRun) -> None:
    run = make_run("one", kimgs=(10, 20, 30))
    lines = (run / "log.jsonl").read_text().splitlines()
    resume = {"kind": "start", "nimg": 10_000, "device": "cuda", "world": 4, "versions": {"torch": "3"}}
    place = next(i for i, line in enumerate(lines) if '"tick": 2' in line)
    (run / "log.jsonl").write_text("\n".join([*lines[:place], json.dumps(resume), *lines[place:]]) + "\n")
    (effort,) = report_on(run, pictures=False).efforts
    assert effort.wall_hours == pytest.approx(360 / 3600)
    assert effort.device_hours == pytest.approx((120 + 4 * 240) / 3600)
    assert effort.resumes == 1
    assert effort.devices == ("1 × cpu", "4 × cuda")
    assert effort.energy_kwh is None


def test_runs_alike_but_for_the_seed_are_summed_up(make_run: MakeRun) -> None:
    runs = [read_run(make_run(f"r{seed}", seed=seed, measure=False), f"r{seed}") for seed in (0, 1)]
    series = [
        Series(name=f"r{seed}", points=(Point(kimg=1, value=seed), Point(kimg=2, value=3 * seed))) for seed in (0, 1)
    ]
    (mean,) = summed_up(series, runs)
    assert [(p.kimg, p.value, p.low, p.high) for p in mean.points] == [(1, 0.5, 0, 1), (2, 1.5, 0, 3)]
    assert summed_up(series[:1], runs) == ()


def test_long_series_keep_their_ends() -> None:
    points = [Point(kimg=k, value=0.0) for k in range(1000)]
    kept = thinned(points)
    assert len(kept) == MAX_POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_neighbours_find_a_copy_and_say_what_is_usual(natural_images: Any) -> None:
    from metrics.extractors import open_extractor
    from metrics.sources import as_image_set

    reals = natural_images(300, 32)
    queries = np.stack([reals[7], reals[250], 255 - reals[3]])
    found = find_neighbours(queries, as_image_set(reals), open_extractor("tiny"), k=2)
    for nearest in (found.pixels, found.features):
        assert nearest.numbers[:2, 0].tolist() == [7, 250]
        assert nearest.distances[:2, 0].max() < 1e-3
        assert nearest.baseline > 1e-3
    flat = reals.reshape(300, -1).astype(float)
    brute = np.sqrt(np.square(flat - queries[2].reshape(-1)).mean(axis=1))
    assert found.pixels.numbers[2].tolist() == np.argsort(brute)[:2].tolist()
    np.testing.assert_allclose(found.pixels.distances[2], np.sort(brute)[:2])
    some = find_neighbours(queries, as_image_set(reals), open_extractor("tiny"), search=100)
    assert (some.searched, some.available) == (100, 300)


def test_levels_show_what_the_metric_is_computed_from(natural_images: Any) -> None:
    views = level_views(natural_images(4, 64), natural_images(4, 64, seed=1))
    assert [view.level for view in views] == [64, 32, 16]
    assert views[-1].gain == 1.0
    assert all(view.gain > 1 for view in views[:-1])
    assert level_views(natural_images(2, 24), natural_images(2, 24)) == ()


def test_grids_are_cut_as_they_were_put_together(natural_images: Any) -> None:
    images = natural_images(6, 16)
    np.testing.assert_array_equal(cut(tiled(images, 3), 3, 2), images)
    assert cut(tiled(images, 3), 2, 2) is None


def test_pictures_keep_to_their_budget() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8))
    picture = encoded(noise, "noise", budget=60_000)
    assert len(picture.src) < 60_000 * 4 / 3 + 100
    flat = encoded(Image.new("RGB", (64, 64)), "flat", budget=60_000)
    assert flat.src.startswith("data:image/png")
    assert flat.small


def test_published_levels_average_to_the_printed_mean() -> None:
    entries = published(frozenset({"swd"}))
    assert len(entries) == 18
    for entry in entries:
        assert np.mean(list(entry.levels.values())) == pytest.approx(entry.value, abs=0.00501)
    assert {entry.metric for entry in published()} == {"swd", "ms-ssim", "is", "fid"}
    assert all(entry.citation and entry.where for entry in published())


def test_published_values_are_marked(make_run: MakeRun) -> None:
    page = render_page(report_on(make_run("one"), pictures=False))
    assert "published, not measured" in page
    assert "(h) converged" in page


def test_ratios_to_a_baseline_need_the_same_command(tmp_path: Path) -> None:
    def record(folder: str, command: str, median: float, better: str) -> Path:
        path = tmp_path / folder / "b.json"
        path.parent.mkdir(exist_ok=True)
        figures = {"speed": {"median": median, "smallest": 1, "largest": 9, "unit": "x", "better": better}}
        path.write_text(json.dumps({"benchmark": "b", "command": command, "figures": figures}))
        return path

    record("base", "c", 4.0, "higher")
    report = report_on(record("new", "c", 2.0, "higher"), baseline=tmp_path / "base")
    assert report.benchmarks[0].figures[0].change == 0.5
    report = report_on(record("new", "c", 2.0, "lower"), baseline=tmp_path / "base")
    assert report.benchmarks[0].figures[0].change == 2.0
    report = report_on(record("new", "other", 2.0, "higher"), baseline=tmp_path / "base")
    assert report.benchmarks[0].figures[0].change is None
    assert "another command" in report.benchmarks[0].note


def test_the_data_card_counts(make_pyramid: Callable[..., Path], tmp_path: Path) -> None:
    path = make_pyramid("set.h5", attributes=("Smiling", HOSTILE))
    (tmp_path / "set.rejects.jsonl").write_text('{"reason": "blurred"}\n{"reason": "blurred"}\n{"reason": "size"}\n')
    report = build_report(ReportConfig(paths=(), data=path))
    card = report.data
    assert card is not None
    assert card.rejects == (("blurred", 2), ("size", 1))
    assert card.attributes[0] == ("Smiling", card.n // 2, card.n)
    assert sum(n for *_, n in card.quality) == card.quality_known == card.n
    page = render_page(report)
    assert "Quality scores" in page
    assert "<img src=x" not in page
    with pytest.raises(ReportError, match="--data"):
        build_report(ReportConfig(paths=(), data=tmp_path / "set.rejects.jsonl"))


def test_other_data_than_trained_on_is_said(make_run: MakeRun, make_pyramid: Callable[..., Path]) -> None:
    report = report_on(make_run("one"), data=make_pyramid("other.h5", seed=9))
    assert any("was trained on other data" in line for line in report.missing)


def test_folders_and_lists_of_results(tmp_path: Path, natural_images: Any) -> None:
    plain = metrics.ms_ssim(natural_images(8, 32)).to_json()
    (tmp_path / "folder").mkdir()
    write_json(plain, tmp_path / "folder" / "ms-ssim.json")
    write_json({"results": [plain, plain]}, tmp_path / "all.json")
    found = read_inputs([tmp_path / "folder", tmp_path / "all.json"])
    assert len(found.results) == 3


def test_dry_run_and_json(make_run: MakeRun, tmp_path: Path) -> None:
    run, out = make_run("one"), tmp_path / "r.html"
    done = CliRunner().invoke(main, ["report", str(run), "-o", str(out), "--dry-run", "--json"])
    assert json.loads(done.stdout) == {"runs": 1, "results": 4, "benchmarks": 0, "format": "html", "out": str(out)}
    assert not out.exists()
    done = CliRunner().invoke(main, ["report", str(run), "-o", str(out), "--json", "--quiet", "--samples", "0"])
    assert json.loads(done.stdout)["bytes"] == out.stat().st_size


def test_a_missing_chart_program_is_said(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    done = CliRunner().invoke(main, ["report", str(make_run("one")), "-o", str(tmp_path / "r.html"), "--samples", "0"])
    assert done.exit_code == 1
    assert "celebahq-tools[report]" in done.output
    assert importlib.util.find_spec("jinja2") is not None
