"""Values produced by the authors' original script, run unmodified."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metrics
from metrics.msssim.measure import choose_pairs, pair_scores
from metrics.sliced.config import SwdConfig
from metrics.sources import as_image_set

pytestmark = pytest.mark.shared

CASES = ["natural64", "blur64", "natural128", "blur32", "single16", "blur256"]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, shared: Path) -> dict[str, Any]:
    """One case with its images."""
    folder = shared / "golden" / "metrics"
    known = {case["name"]: case for case in json.loads((folder / "reference.json").read_text())}
    assert sorted(known) == sorted(CASES)
    with np.load(folder / "images.npz") as images:
        sets = {role: images[f"{request.param}/{role}"] for role in ("real", "fake")}
    return {**known[request.param], **sets}


def test_reference_protocol_equals_the_authors_script(case: dict[str, Any]) -> None:
    config = SwdConfig(protocol="reference", seed=case["seed"], batch=case["batch"])
    result = metrics.swd(case["real"], case["fake"], config=config, floor=False, jobs=2)
    assert result.levels is not None
    assert [int(level) for level in result.levels] == case["levels"]
    np.testing.assert_allclose([*result.levels.values(), result.value], case["swd_x1e3"], rtol=1e-5)


@pytest.mark.parametrize("case", ["blur32"], indirect=True)
def test_reference_depends_on_the_batch_and_default_does_not(case: dict[str, Any]) -> None:
    values = {
        protocol: [
            metrics.swd(
                case["real"],
                case["fake"],
                config=SwdConfig(protocol=protocol, seed=2, batch=batch, interval_splits=0),
                floor=False,
            ).value
            for batch in (16, 32)
        ]
        for protocol in ("default", "reference")
    }
    assert values["default"][0] == values["default"][1]
    assert values["reference"][0] != values["reference"][1]


def test_ms_ssim_equals_the_authors_script(case: dict[str, Any]) -> None:
    images = as_image_set(case["real"])
    pairs = choose_pairs(images.n, n=None, pairs="adjacent", seed=0)
    scores = pair_scores(images, pairs)
    np.testing.assert_allclose(scores, case["ms_ssim_pairs"], rtol=0, atol=1e-5)
    assert scores.mean() == pytest.approx(case["ms_ssim_real"], abs=1e-6)
