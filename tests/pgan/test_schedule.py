"""The schedule against its closed form."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgan.config import Config, ScheduleConfig
from pgan.presets import preset
from pgan.schedule import active_layers, growth_resolutions, lod_at, stage_at


def config(res: int = 64, **schedule: object) -> Config:
    base = preset("celebahq-1024")
    return replace(
        base,
        network=replace(base.network, res=res),
        schedule=ScheduleConfig(**{"training_kimg": 3.0, "transition_kimg": 2.0, "total_kimg": 30.0, **schedule}),
    )


@pytest.mark.parametrize(
    ("nimg", "lod"),
    [
        (0, 4.0),
        (2_999, 4.0),
        (3_000, 4.0),
        (3_500, 3.75),
        (4_000, 3.5),
        (5_000, 3.0),
        (8_000, 3.0),
        (9_000, 2.5),
        (10_000, 2.0),
        (19_500, 0.25),
        (20_000, 0.0),
        (1_000_000, 0.0),
    ],
)
def test_lod_at_the_borders(nimg: int, lod: float) -> None:
    assert lod_at(config(), nimg) == pytest.approx(lod, abs=1e-12)


@pytest.mark.parametrize(
    ("nimg", "res", "fade"),
    [(0, 4, 0.0), (3_000, 4, 0.0), (3_500, 8, 0.75), (5_000, 8, 0.0), (19_500, 64, 0.25), (20_000, 64, 0.0)],
)
def test_the_new_resolution_is_used_from_the_start_of_its_fade(nimg: int, res: int, fade: float) -> None:
    stage = stage_at(config(), nimg)
    assert (stage.res, stage.fade) == (res, pytest.approx(fade, abs=1e-12))


def test_paper_schedule() -> None:
    paper = preset("celebahq-1024")
    starts = {800: 8.0, 1200: 7.5, 1600: 7.0, 2400: 7.0, 11_200: 1.0, 12_400: 0.5, 12_800: 0.0, 19_000: 0.0}
    assert {kimg: lod_at(paper, kimg * 1000) for kimg in starts} == starts
    assert growth_resolutions(paper) == (4, 8, 16, 32, 64, 128, 256, 512, 1024)


def test_the_end_of_a_run_may_come_before_the_final_resolution() -> None:
    assert growth_resolutions(config(total_kimg=12.0)) == (4, 8, 16)
    assert growth_resolutions(config(start_res=64)) == (64,)


def test_no_growing_and_no_fades() -> None:
    assert lod_at(config(start_res=64), 0) == 0.0
    steps = config(transition_kimg=0.0)
    assert [lod_at(steps, nimg) for nimg in (0, 2_999, 3_000, 6_000, 11_999, 12_000)] == [4, 4, 3, 2, 1, 0]


def test_only_fades() -> None:
    assert lod_at(config(training_kimg=0.0), 500) == pytest.approx(3.75)


def test_settings_by_resolution() -> None:
    stages = {
        res: stage_at(preset("v2-1gpu"), (1200 * phase) * 1000)
        for phase, res in enumerate((4, 8, 16, 32, 64, 128, 256, 512, 1024))
    }
    assert {res: stage.res for res, stage in stages.items()} == {res: res for res in stages}
    batches = [stage.batch for stage in stages.values()]
    assert batches == [128, 128, 128, 64, 32, 16, 8, 4, 4]
    assert [stage.lr for stage in stages.values()] == [0.001] * 8 + [0.0015]
    assert [stage.tick_kimg for stage in stages.values()] == [160, 140, 120, 100, 80, 60, 40, 20, 10]


def test_ramp_up_of_the_older_release() -> None:
    older = preset("v1-1gpu")
    assert stage_at(older, 0).lr == 0.0
    assert stage_at(older, 10_000).lr == pytest.approx(0.25e-3)
    assert stage_at(older, 40_000).lr == stage_at(older, 90_000).lr == pytest.approx(1e-3)
    assert stage_at(preset("celebahq-1024"), 0).lr == 1e-3


def test_active_layers_change_at_the_ends_of_fades() -> None:
    changes = []
    for nimg in range(0, 22_000, 100):
        layers = active_layers(lod_at(config(), nimg))
        if not changes or changes[-1][1] != layers:
            changes.append((nimg, layers))
    assert changes == [
        (0, (4, 4)),
        (3_100, (3, 4)),
        (5_000, (3, 3)),
        (8_100, (2, 3)),
        (10_000, (2, 2)),
        (13_100, (1, 2)),
        (15_000, (1, 1)),
        (18_100, (0, 1)),
        (20_000, (0, 0)),
    ]


@settings(max_examples=100, deadline=None)
@given(
    training=st.integers(0, 50),
    transition=st.integers(1, 50),
    log2=st.integers(2, 10),
    start=st.integers(2, 10),
    nimg=st.integers(0, 2_000_000),
    further=st.integers(0, 100_000),
)
def test_lod_falls_continuously_within_its_bounds(
    training: int, transition: int, log2: int, start: int, nimg: int, further: int
) -> None:
    start = min(start, log2)
    one = config(
        1 << log2,
        training_kimg=float(training),
        transition_kimg=float(transition),
        start_res=1 << start,
    )
    lod, later = lod_at(one, nimg), lod_at(one, nimg + further)
    assert 0.0 <= later <= lod + 1e-9 <= log2 - start + 1e-9
    assert lod - later <= further / 1000 / transition + 1e-9
    stage = stage_at(one, nimg)
    assert stage.res == 1 << (log2 - math.floor(lod))
    assert 0.0 <= stage.fade < 1.0
    end = (training + transition) * (log2 - start) * 1000
    assert lod_at(one, end) == pytest.approx(0.0, abs=1e-9)
