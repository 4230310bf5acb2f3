"""Metrics of stored generators: one network, a process of its own, all networks of a run."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import metrics
from metrics.errors import ImageSetError
from metrics.protocol import read_result
from metrics.sources import open_image_set
from pgan.errors import CheckpointError, ConfigError, RunError
from pgan.evaluate import EvaluationConfig, evaluate_generator, kimg_of, main, measure, open_sets, write_results
from pgan.evaluate_run import best_network, evaluate_run, networks_of, read_run
from pgan.generate import read_generator
from pgan.image_set import GeneratorSet
from pgan.mirrored import MirroredSet


def network(run: Path, kimg: int = 20) -> Path:
    return run / "networks" / f"{kimg:06d}.safetensors"


def test_values_are_those_of_the_metrics_themselves(tiny_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.h5"
    results = evaluate_generator(network(tiny_run), data, n=16)
    assert list(results) == ["swd", "ms-ssim"]
    fake = GeneratorSet(read_generator(network(tiny_run)), n=16)
    # Another batch may round a pixel to the neighbouring value.
    assert results["swd"].value == pytest.approx(metrics.swd(data, fake, n=16).value, rel=1e-3)
    assert results["ms-ssim"].value == pytest.approx(metrics.ms_ssim(fake, n=16).value, rel=1e-3)
    assert results["swd"].noise_floor is not None
    assert results["swd"].protocol.sets["fake"].kind == "checkpoint"


def test_a_mirrored_training_set_is_measured_mirrored(tiny_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.h5"
    mirrored = evaluate_generator(network(tiny_run), data, metrics=("swd",), n=16, mirror=True)["swd"]
    assert "mirrored" in mirrored.protocol.sets["real"].label
    with open_image_set(data) as real:
        expected = metrics.swd(MirroredSet(real), GeneratorSet(read_generator(network(tiny_run)), n=16), n=16)
    assert mirrored.value == pytest.approx(expected.value, rel=1e-3)


def test_global_random_state_is_left_alone(tiny_run: Path, tmp_path: Path) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    evaluate_generator(network(tiny_run), tmp_path / "data.h5", n=8)
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()


def test_feature_metrics_with_a_network_and_without_weights(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = read_generator(network(tiny_run))
    config = EvaluationConfig(metrics=("fid", "swd"), n=12, extractor="tiny")
    with open_sets(generator, tmp_path / "data.h5", config) as (real, fake):
        assert list(measure(real, fake, config)) == ["fid", "swd"]
    monkeypatch.setenv("METRICS_WEIGHTS", str(tmp_path / "nothing"))
    reasons: dict[str, str] = {}
    found = evaluate_generator(
        network(tiny_run), tmp_path / "data.h5", metrics=("fid", "ms-ssim", "is"), n=12, skipped=reasons.setdefault
    )
    assert list(found) == ["ms-ssim"]
    assert set(reasons) == {"fid", "is"}
    assert "weights file" in reasons["fid"]


def test_the_process_of_its_own_stores_results(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(network(tiny_run)), "--data", str(tmp_path / "data.h5"), "--run", str(tiny_run), "--n", "16"]
    assert main([*arguments, "--metrics", "swd"]) == 0
    stored = read_result(tiny_run / "metrics" / "000020-swd.json")
    result = evaluate_generator(network(tiny_run), tmp_path / "data.h5", metrics=("swd",), n=16)["swd"]
    assert stored["value"] == result.value
    assert write_results(tiny_run, 20, {"swd": result}) == {"swd": result.value, "swd/16": result.value}
    assert main([*arguments, "--metrics", "beauty"]) == 2
    assert "error: metrics are beauty" in capsys.readouterr().err
    assert main([*arguments[:2], str(tmp_path / "none.h5"), *arguments[3:]]) == 1
    assert "none.h5 does not exist" in capsys.readouterr().err


def test_a_run_is_measured_once(tiny_run: Path, tmp_path: Path) -> None:
    data, config = tmp_path / "data.h5", EvaluationConfig(n=16)
    table = evaluate_run(tiny_run, data, config)
    assert [row.kimg for row in table] == [0, 10, 20]
    assert all(row.measured == ("swd", "ms-ssim") for row in table)
    (tiny_run / "metrics" / "000010-swd.json").write_text("{cut")
    again = evaluate_run(tiny_run, data, config)
    assert [row.measured for row in again] == [(), ("swd",), ()]
    assert [dict(row.values) for row in again] == [dict(row.values) for row in table]
    other = evaluate_run(tiny_run, data, EvaluationConfig(n=14))
    assert all(row.measured == ("swd", "ms-ssim") for row in other)
    best = best_network(table, "swd")
    assert best is not None
    assert best.values["swd"] == min(row.values["swd"] for row in table)
    assert best_network(table, "fid") is None
    assert best_network(table, "ms-ssim") is None


def test_another_network_or_other_data_are_measured_anew(
    tiny_run: Path, tmp_path: Path, make_generator: Callable[..., Path], make_pyramid: Callable[..., Path]
) -> None:
    config = EvaluationConfig(metrics=("swd",), n=4, floor=False)
    evaluate_run(tiny_run, tmp_path / "data.h5", config)
    make_generator(network(tiny_run), seed=9)
    again = evaluate_run(tiny_run, tmp_path / "data.h5", config)
    assert [row.measured for row in again] == [(), (), ("swd",)]
    other = evaluate_run(tiny_run, make_pyramid(tmp_path / "other.h5", 5), config)
    assert all(row.measured == ("swd",) for row in other)


def test_results_are_named_as_the_network_is(tiny_run: Path, tmp_path: Path) -> None:
    file = network(tiny_run)
    assert kimg_of(read_generator(file)) == 20
    assert kimg_of(read_generator(file.rename(tiny_run / "networks" / "000019.safetensors"))) == 19
    assert (
        kimg_of(read_generator((tiny_run / "networks" / "000019.safetensors").rename(tmp_path / "7.safetensors"))) == 20
    )


def test_a_coarser_level_is_measured_as_the_data_have_it(tiny_run: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(n=4, res=8)
    with open_sets(read_generator(tiny_run), tmp_path / "data.h5", config) as (real, fake):
        assert (real.res, real.resizer) == (fake.res, fake.resizer) == (8, "pyramid-level")


def test_bad_input_is_named(tiny_run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.h5"
    with pytest.raises(ConfigError, match="n is 1"):
        EvaluationConfig(n=1)
    with pytest.raises(ConfigError, match="each once"):
        EvaluationConfig(metrics=("swd", "swd"))
    with pytest.raises(ImageSetError, match="24 images, asked for 100"):
        evaluate_generator(network(tiny_run), data, n=100)
    with pytest.raises(ImageSetError, match="no level of 2 pixels"):
        evaluate_generator(network(tiny_run), data, n=16, res=2)
    with pytest.raises(ConfigError, match="cannot be measured at 32"):
        evaluate_generator(network(tiny_run), data, n=16, res=32)
    with pytest.raises(CheckpointError, match="does not exist"):
        evaluate_generator(network(tiny_run, 99), data, n=16)
    with pytest.raises(RunError, match="does not exist"):
        networks_of(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no networks"):
        networks_of(tmp_path)
    with pytest.raises(RunError, match="not a run directory"):
        read_run(tmp_path)
    (tiny_run / "config.json").write_text(json.dumps({"schema": "other"}))
    with pytest.raises(RunError, match="expected schema"):
        read_run(tiny_run)
