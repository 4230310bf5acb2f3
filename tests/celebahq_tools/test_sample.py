"""The sample that ships: what its provenance says it is, and fit to make face crops of."""

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from celebahq_tools.decode import decode_picture
from celebahq_tools.manifest import load_celeba_facts, load_sample_provenance
from celebahq_tools.sources import open_sample

MAX_BYTES = 600 << 10


def test_pictures_are_those_of_the_provenance() -> None:
    pictures = load_sample_provenance()["pictures"]
    identities = load_sample_provenance()["originals"]
    with open_sample() as source:
        assert source.files == tuple(picture["file"] for picture in pictures)
        for picture in pictures:
            data = source.read(picture["file"])
            assert len(data) == picture["bytes"]
            assert hashlib.sha256(data).hexdigest() == picture["sha256"]
            record = source.require_record(picture["file"])
            assert record.identity == identities[picture["original"]]["identity"]


def test_sample_is_small_enough_for_git() -> None:
    folder = Path(str(resources.files("celebahq_tools") / "sample"))
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < MAX_BYTES


def test_landmarks_are_upright_faces_inside_the_pictures() -> None:
    with open_sample() as source:
        for file in source.files:
            height, width, _ = decode_picture(source.read(file), name=file).shape
            points = source.require_record(file).landmarks
            assert points is not None
            assert (points >= 0).all()
            assert (points < [width, height]).all()
            eye_left, eye_right, nose, mouth_left, mouth_right = points
            assert eye_left[0] < eye_right[0]
            assert mouth_left[0] < mouth_right[0]
            assert points[:2, 1].mean() < nose[1] < points[3:, 1].mean()
            assert np.hypot(*(eye_right - eye_left)) > 20


def test_every_annotation_is_exercised() -> None:
    with open_sample() as source:
        records = [source.require_record(file) for file in source.files]
        assert source.attribute_names == load_celeba_facts().attribute_names
    assert {record.partition for record in records} == {0, 1, 2}
    assert {record.identity for record in records} == {1, 2, 3}
    attributes = np.array([record.attributes for record in records])
    assert attributes.shape == (12, 40)
    assert set(np.unique(attributes)) == {-1, 1}


@pytest.mark.weights
def test_landmarks_agree_with_the_detector() -> None:
    from celebahq_tools.errors import MissingDependencyError
    from celebahq_tools.faces import FaceFinder, find_landmarks_model

    try:
        finder = FaceFinder(find_landmarks_model())
    except MissingDependencyError as error:
        pytest.skip(str(error))
    found = 0
    with open_sample() as source:
        for file in source.files:
            faces = finder.find(decode_picture(source.read(file), name=file))
            points = source.require_record(file).landmarks
            assert points is not None
            # The detector knows upright faces only, and some of the sample's are turned.
            if faces:
                found += 1
                eye_to_eye = np.hypot(*(points[1] - points[0]))
                assert np.hypot(*(faces[0].landmarks - points).T).mean() < 0.12 * eye_to_eye
    assert found >= 10
