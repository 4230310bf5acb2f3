"""Conditioning on attributes and continuous labels: from the pyramid to the samples."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from celebahq_tools.store import IndexRow, PyramidMeta, PyramidReader, SlotWriter, create_pyramid
from pgan.config import Config, config_from_json, config_json
from pgan.data import PyramidBatches, check_data, inspect_data, requests
from pgan.errors import ConfigError, DataError
from pgan.fit import Prepared, carry_out, prepare_new, prepare_resume
from pgan.generate import read_generator
from pgan.labels import conditioned, label_rows, labels_in
from pgan.parallel import World
from pgan.run import RunDirectory
from pgan.sampling import SampleConfig, inputs_of, numbered_samples, write_samples
from pgan.snapshots import read_snapshot
from pgan.train import StopRequest, Training
from pgan.walk import Position

RES, COUNT = 16, 24
CPU = torch.device("cpu")
KINDS = ("class", "attributes", "continuous")
ATTRIBUTE_NAMES, VALUE_NAMES = ("Male", "Smiling", "Hat"), ("age", "yaw")


def attributes_of(k: int) -> tuple[int, int, int]:
    """Hat is worn by those who smile: what is drawn has to keep to that."""
    return (1 if k % 3 == 0 else -1, 1 if k % 2 else -1, 1 if k % 2 else -1)


def values_of(k: int) -> tuple[float, float]:
    return (20.0 + k, 7.0)


def make(path: Path, *, kinds: tuple[str, ...] = KINDS, gap: int | None = None) -> Path:
    rows = [
        IndexRow(
            key=f"{k}",
            file="x",
            label=k % 3 if "class" in kinds else None,
            attributes=(0, 1, 1) if k == gap else attributes_of(k) if "attributes" in kinds else None,
            vector=(1.0, float("nan")) if k == gap else values_of(k) if "continuous" in kinds else None,
        )
        for k in range(COUNT)
    ]
    create_pyramid(
        path,
        res=RES,
        rows=rows,
        meta=PyramidMeta(),
        attribute_names=ATTRIBUTE_NAMES if "attributes" in kinds else (),
        vector_names=VALUE_NAMES if "continuous" in kinds else (),
        label_names=("cat", "dog", "owl") if "class" in kinds else (),
    )
    with SlotWriter(path) as writer:
        writer.write_run(0, np.random.default_rng(0).integers(0, 256, (COUNT, 3, RES, RES), dtype=np.uint8))
    return path


def make_authors(path: Path, labels: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for res in (16, 8, 4):
            file[f"data{res}x{res}"] = np.zeros((len(labels), 3, res, res), np.uint8)
    np.save(path.with_name(f"{path.stem}-labels.npy"), labels)
    return path


def configured(config: Config, data: Path, kind: str) -> Config:
    with PyramidReader(data) as reader:
        network = conditioned(config.network, inspect_data(data).labelled(kind), reader)
    return replace(config, network=network, train=replace(config.train, labels=kind))


def silent(record: Mapping[str, Any]) -> None:
    """Hear nothing."""


def train(config: Config, data: Path, out: Path) -> None:
    prepared = Prepared(run=RunDirectory(out), config=config, data=inspect_data(data), resume=None)
    assert carry_out(prepared, CPU, silent) == "finished"


def train_until(config: Config, data: Path, out: Path, nimg: int) -> None:
    request, run = StopRequest(), RunDirectory(out)

    def heard(record: Mapping[str, Any]) -> None:
        if record["kind"] == "step" and record["nimg"] >= nimg:
            request.name = "SIGTERM"

    run.hold()
    run.write_config(config, inspect_data(data))
    assert Training(run, config, inspect_data(data), device=CPU, resume=None, told=heard).fit(request) == "SIGTERM"
    run.release()


def test_every_kind_in_a_pyramid_is_found(tmp_path: Path) -> None:
    found = labels_in(PyramidReader(make(tmp_path / "all.h5")))
    assert [(one.kind, one.size, one.names) for one in found] == [
        ("class", 3, ("cat", "dog", "owl")),
        ("attributes", 3, ATTRIBUTE_NAMES),
        ("continuous", 2, VALUE_NAMES),
    ]
    info = inspect_data(make(tmp_path / "some.h5", kinds=("continuous",)))
    assert info.labelled("auto") == info.labelled("continuous")
    assert info.labelled("auto") is not None
    assert info.labelled("class") is None
    assert inspect_data(make(tmp_path / "none.h5", kinds=())).labels == ()


def test_the_authors_label_files_are_classes_or_values(tmp_path: Path) -> None:
    one_hot = np.eye(3, dtype=np.float32)[[0, 2, 1, 2]]
    (info,) = inspect_data(make_authors(tmp_path / "a.h5", one_hot)).labels
    assert (info.kind, info.size) == ("class", 3)
    values = np.array([[0.5, 2], [1, 3], [0.1, 4], [0, 5]], np.float32)
    path = make_authors(tmp_path / "b.h5", values)
    (info,) = inspect_data(path).labels
    assert (info.kind, info.names) == ("continuous", ("0", "1"))


def test_a_run_takes_the_labels_it_is_told(tmp_path: Path) -> None:
    data = make(tmp_path / "d.h5")
    sizes = {}
    for wanted in ("auto", "none", *KINDS):
        network = prepare_new("demo", data, tmp_path / "run", {"res": "16", "labels": wanted}).config.network
        sizes[wanted] = (network.label_size, network.label_names)
    assert sizes == {
        "auto": (3, ("cat", "dog", "owl")),
        "none": (0, ()),
        "class": (3, ("cat", "dog", "owl")),
        "attributes": (3, ATTRIBUTE_NAMES),
        "continuous": (2, VALUE_NAMES),
    }
    only = make(tmp_path / "v.h5", kinds=("continuous",))
    with pytest.raises(DataError, match="no labels of kind class; it has continuous: use --labels continuous"):
        prepare_new("demo", only, tmp_path / "run", {"res": "16", "labels": "class"})


def test_what_networks_see(tiny: Config, tmp_path: Path) -> None:
    reader = PyramidReader(make(tmp_path / "d.h5"))
    for kind in KINDS:
        config = configured(tiny, reader.path, kind)
        rows = label_rows(reader, config.network)
        assert rows is not None
        if kind == "class":
            assert rows.tolist() == [k % 3 for k in range(COUNT)]
        elif kind == "attributes":
            expected = [[(value + 1) // 2 for value in attributes_of(k)] for k in range(COUNT)]
            assert rows.tolist() == expected
        else:
            raw = np.array([values_of(k) for k in range(COUNT)])
            np.testing.assert_allclose(rows[:, 0], (raw[:, 0] - raw[:, 0].mean()) / raw[:, 0].std(), rtol=1e-6)
            assert not rows[:, 1].any()
        assert config_from_json(config_json(config), "x") == config


@pytest.mark.parametrize(("kind", "name"), [("attributes", "Male"), ("continuous", "yaw")])
def test_gaps_are_named(kind: str, name: str, tiny: Config, tmp_path: Path) -> None:
    data = make(tmp_path / "d.h5", gap=5)
    with pytest.raises(DataError, match=f"image 5 has no value of {name}"):
        configured(tiny, data, kind)


def test_a_share_has_the_labels_of_its_images(tiny: Config, tmp_path: Path) -> None:
    data = make(tmp_path / "d.h5")
    config = configured(tiny, data, "attributes")
    batches = PyramidBatches(data, seed=0, mirror=False, network=config.network)

    def labels_of(world: World) -> list[torch.Tensor]:
        wanted = requests(config, Position(), world)
        return list(batches[tuple(islice(wanted, 5))][1])

    whole = labels_of(World(rank=0, size=1))
    shares = [labels_of(World(rank=rank, size=2)) for rank in range(2)]
    for one, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(one, torch.cat([first, second]))
    numbers, _ = batches.numbers(0, 4)
    assert whole[0].tolist() == [[(value + 1) // 2 for value in attributes_of(int(k))] for k in numbers]


@pytest.mark.parametrize("kind", ["attributes", "continuous"])
@pytest.mark.parametrize("same_pass", [False, True])
def test_runs_resume_to_the_bit(kind: str, same_pass: bool, tiny: Config, tmp_path: Path) -> None:
    data = make(tmp_path / "d.h5")
    config = configured(tiny, data, kind)
    config = replace(
        config,
        schedule=replace(config.schedule, total_kimg=0.08),
        loss=replace(config.loss, same_pass=same_pass),
    )
    train(config, data, tmp_path / "whole")
    train_until(config, data, tmp_path / "parts", 40)
    assert carry_out(prepare_resume(tmp_path / "parts", None, {}, silent), CPU, silent) == "finished"
    one, other = (read_snapshot(RunDirectory(tmp_path / name).checkpoints()[-1]) for name in ("whole", "parts"))
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    assert one.tensors["ema.label_table"].any()
    ticks = [record for record in RunDirectory(tmp_path / "whole").records() if record["kind"] == "tick"]
    assert all(tick["loss_label"] > 0 for tick in ticks)


def test_labels_move_the_networks(tiny: Config, tmp_path: Path) -> None:
    """The label term reaches both networks: without its weight they become others."""
    data = make(tmp_path / "d.h5")
    found = []
    for weight in (1.0, 0.0):
        config = configured(tiny, data, "attributes")
        config = replace(
            config,
            schedule=replace(config.schedule, total_kimg=0.02),
            loss=replace(config.loss, label_weight=weight),
        )
        train(config, data, tmp_path / str(weight))
        found.append(read_snapshot(RunDirectory(tmp_path / str(weight)).checkpoints()[-1]).tensors)
    for prefix in ("g.first", "d."):
        names = [name for name in found[0] if name.startswith(prefix)]
        assert any(not torch.equal(found[0][name], found[1][name]) for name in names)


@pytest.fixture
def trained(tiny: Config, tmp_path: Path) -> Callable[[str], Path]:
    def run(kind: str) -> Path:
        data = make(tmp_path / "d.h5")
        config = configured(tiny, data, kind)
        train(replace(config, schedule=replace(config.schedule, total_kimg=0.01)), data, tmp_path / "run")
        return tmp_path / "run"

    return run


def test_samples_have_attributes_of_the_data(trained: Callable[[str], Path], tmp_path: Path) -> None:
    generator = read_generator(trained("attributes"))
    assert generator.config.network.label_names == ATTRIBUTE_NAMES
    write_samples(generator, SampleConfig(samples=numbered_samples(0, 20)), tmp_path / "own.h5")
    with PyramidReader(tmp_path / "own.h5") as reader:
        drawn = {tuple(row) for row in reader.index.attributes.tolist()}
        assert reader.attribute_names == ATTRIBUTE_NAMES
    assert drawn <= {attributes_of(k) for k in range(COUNT)}
    assert len(drawn) > 1
    wish = SampleConfig(samples=numbered_samples(0, 20), label="Hat=1,Male=0")
    write_samples(generator, wish, tmp_path / "wish.h5")
    with PyramidReader(tmp_path / "wish.h5") as reader, PyramidReader(tmp_path / "own.h5") as own:
        wished = reader.index.attributes
        assert (wished[:, 2] == 1).all()
        assert (wished[:, 0] == -1).all()
        np.testing.assert_array_equal(wished[:, 1], own.index.attributes[:, 1])


def test_samples_have_values_in_the_units_of_the_data(trained: Callable[[str], Path], tmp_path: Path) -> None:
    generator = read_generator(trained("continuous"))
    write_samples(generator, SampleConfig(samples=numbered_samples(0, 12)), tmp_path / "own.h5")
    with PyramidReader(tmp_path / "own.h5") as reader:
        assert reader.vectors is not None
        ages = reader.vectors[:, 0]
        np.testing.assert_allclose(ages, np.round(ages), atol=1e-4)
        assert ages.min() >= 20
        assert ages.max() < 20 + COUNT
        np.testing.assert_allclose(reader.vectors[:, 1], 7.0, atol=1e-5)
    write_samples(generator, SampleConfig(samples=numbered_samples(0, 3), label="age=31.5"), tmp_path / "wish.h5")
    with PyramidReader(tmp_path / "wish.h5") as reader:
        assert reader.vectors is not None
        np.testing.assert_allclose(reader.vectors[:, 0], 31.5, atol=1e-4)


def test_classes_are_asked_for_by_name(trained: Callable[[str], Path]) -> None:
    generator = read_generator(trained("class"))
    _, labels = inputs_of(generator, list(numbered_samples(0, 3)), "owl")
    assert labels is not None
    assert labels.tolist() == [2, 2, 2]
    with pytest.raises(ConfigError, match="no class 'cow'; it has cat, dog, owl"):
        inputs_of(generator, list(numbered_samples(0, 1)), "cow")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("1", "write NAME=VALUE"),
        ("Beard=1", "no label 'Beard'; it has Male, Smiling, Hat"),
        ("Male=2", "expected 0 or 1"),
        ("Male=yes", "expected 0 or 1"),
    ],
)
def test_wishes_that_cannot_be_met(label: str, words: str, trained: Callable[[str], Path]) -> None:
    generator = read_generator(trained("attributes"))
    with pytest.raises(ConfigError, match=words):
        inputs_of(generator, list(numbered_samples(0, 1)), label)


def test_another_order_of_attributes_is_other_data(tiny: Config, tmp_path: Path) -> None:
    data = make(tmp_path / "d.h5")
    config = configured(tiny, data, "attributes")
    swapped = replace(config, network=replace(config.network, label_names=("Smiling", "Male", "Hat")))
    check_data(inspect_data(data), config, (4,))
    with pytest.raises(DataError, match="other names, or in another order"):
        check_data(inspect_data(data), swapped, (4,))
