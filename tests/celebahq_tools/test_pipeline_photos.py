"""Builds from photographs with the real landmark model, and with the real restorer."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from celebahq_tools.config import BuildConfig, RunOptions
from celebahq_tools.errors import MissingDependencyError
from celebahq_tools.pipeline.build import build_pyramid
from celebahq_tools.pipeline.job import face_job
from celebahq_tools.restore import RestorerConfig, open_restorer
from celebahq_tools.sources import open_sample, open_source
from celebahq_tools.store import PyramidReader

pytestmark = pytest.mark.weights


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's pictures as a folder of photographs: single faces, two side by side, and none."""
    folder = tmp_path_factory.mktemp("photos")
    with open_sample() as source:
        first, second = (source.files[number] for number in (0, 1))
        for file in (first, second):
            (folder / file).write_bytes(source.read(file))
    one, two = (Image.open(folder / file).convert("RGB") for file in (first, second))
    pair = Image.new("RGB", (one.width + two.width, max(one.height, two.height)), "gray")
    pair.paste(one, (0, 0))
    pair.paste(two, (one.width, 0))
    pair.save(folder / "pair.png")
    Image.fromarray(np.full((300, 300, 3), 128, np.uint8)).save(folder / "wall.png")
    return folder


def test_faces_are_found_and_cropped(tmp_path: Path, photos: Path) -> None:
    for faces, expected in (("largest", 3), ("all", 4)):
        config = BuildConfig(recipe="plain", res=64, faces=faces)  # type: ignore[arg-type]
        out = tmp_path / f"{faces}.h5"
        try:
            job = face_job(open_source(photos), config, RunOptions())
        except MissingDependencyError as error:
            pytest.skip(str(error))
        summary = build_pyramid(job, RunOptions(jobs=2), out, silent)
        assert summary.num_images == expected
        assert [(reject.file, reject.reason) for reject in summary.rejects] == [("wall.png", "no-face")]
    with PyramidReader(out) as reader:
        keys = [str(key) for key in reader.index.key]
        assert keys[-2:] == ["pair.png", "pair.png#2"]
        in_pair = sorted(reader.read([2, 3]), key=lambda image: image.sum())
        alone = sorted(reader.read([0, 1]), key=lambda image: image.sum())
        for found, expected_face in zip(in_pair, alone, strict=True):
            assert np.abs(found.astype(int) - expected_face.astype(int)).mean() < 12


def test_crops_of_found_and_annotated_faces_agree(tmp_path: Path, photos: Path) -> None:
    config = BuildConfig(recipe="plain", res=64, limit=2)
    try:
        found = face_job(open_source(photos), config, RunOptions())
    except MissingDependencyError as error:
        pytest.skip(str(error))
    build_pyramid(found, RunOptions(), tmp_path / "found.h5", silent)
    with open_sample() as source:
        build_pyramid(face_job(source, config, RunOptions()), RunOptions(), tmp_path / "known.h5", silent)
    with PyramidReader(tmp_path / "found.h5") as one, PyramidReader(tmp_path / "known.h5") as two:
        for slot in range(2):
            side = np.hypot(*(two.index.quad[slot][3] - two.index.quad[slot][0]))
            assert np.abs(one.index.quad[slot] - two.index.quad[slot]).max() < 0.05 * side


def test_ffhq_crops_an_annotated_face_from_68_landmarks(tmp_path: Path) -> None:
    config = BuildConfig(recipe="ffhq", res=64, limit=1)
    with open_sample() as source:
        try:
            job = face_job(source, config, RunOptions())
        except MissingDependencyError as error:
            pytest.skip(str(error))
        assert "landmarks_model_sha256" in job.stamps
        build_pyramid(job, RunOptions(), tmp_path / "ffhq.h5", silent)
        plain = dataclasses.replace(config, recipe="plain")
        build_pyramid(face_job(source, plain, RunOptions()), RunOptions(), tmp_path / "plain.h5", silent)
    quads = [PyramidReader(tmp_path / f"{name}.h5").index.quad[0] for name in ("ffhq", "plain")]
    assert 0 < np.abs(quads[0] - quads[1]).max() < 0.1 * np.ptp(quads[1])


def test_the_paper_recipe_restores_only_what_it_needs(tmp_path: Path) -> None:
    restorer = RestorerConfig(name="realesrgan")
    try:
        open_restorer(restorer).stamp()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    root = tmp_path / "celeba"
    with open_sample() as source:
        shutil.copytree(source.root, root)
    config = BuildConfig(recipe="paper", res=64, restorer=restorer, limit=2)
    for name, jobs in (("one", 1), ("two", 2)):
        job = face_job(open_source(root), config, RunOptions())
        summary = build_pyramid(job, RunOptions(jobs=jobs), tmp_path / f"{name}.h5", silent)
    assert summary.restored_share is not None
    assert 0 < summary.restored_share < 1
    plain = BuildConfig(recipe="plain", res=64, limit=2)
    build_pyramid(face_job(open_source(root), plain, RunOptions()), RunOptions(), tmp_path / "plain.h5", silent)
    with (
        PyramidReader(tmp_path / "one.h5") as one,
        PyramidReader(tmp_path / "two.h5") as two,
        PyramidReader(tmp_path / "plain.h5") as unrestored,
    ):
        assert one.fingerprint() == two.fingerprint()
        stored = one.layout.attributes["build_config"]
        assert stored["restorer"]["name"] == "realesrgan"
        assert "weights_sha256" in json.dumps(stored)
        difference = np.abs(one.read(0).astype(int) - unrestored.read(0).astype(int))
        assert 0 < difference.mean() < 15
