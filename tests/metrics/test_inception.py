"""The FID Inception against features an independent port computed with the same seeded weights."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metrics.errors import UsageError
from metrics.extractors.inception import LAYER_WIDTHS, FIDInception
from metrics.extractors.inception_extractor import InceptionExtractor, open_inception
from metrics.weights import WeightsBytes

GOLDEN_CASES = ("face_128", "face_299", "face_512x384", "noise_32")
GOLDEN_SEED = 20151205


def seeded_weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """The weights described beside the golden features."""
    rng = np.random.default_rng(GOLDEN_SEED)
    weights = {}
    for key in sorted(shapes):
        shape = shapes[key]
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        z = rng.standard_normal(shape).astype(np.float32)
        if key.endswith(".conv.weight"):
            z = z * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif key.endswith(".running_var"):
            z = np.abs(1 + np.float32(0.1) * z)
        elif key.endswith(".bn.weight"):
            z = 1 + np.float32(0.1) * z
        else:
            z = np.float32(0.05 if key == "fc.weight" else 0.1) * z
        weights[key] = torch.from_numpy(np.asarray(z))
    return weights


@pytest.fixture(scope="module")
def golden_weights(shared: Path) -> WeightsBytes:
    shapes = json.loads((shared / "golden" / "inception" / "state_dict_shapes.json").read_text())
    buffer = io.BytesIO()
    torch.save(seeded_weights(shapes), buffer)
    return WeightsBytes(path=Path("seeded.pth"), data=buffer.getvalue(), sha256="5eed", standard=False)


def make(weights: WeightsBytes, **changes: Any) -> InceptionExtractor:
    options = {"resize": "legacy-tensorflow", "precision": "fp32", "device": torch.device("cpu")}
    return InceptionExtractor(weights, **{**options, **changes})


@pytest.fixture(scope="module")
def extractor(golden_weights: WeightsBytes) -> InceptionExtractor:
    return make(golden_weights)


def golden(shared: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / "inception" / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored}


def run(extractor: InceptionExtractor, images: np.ndarray, *layers: str) -> dict[str, np.ndarray]:
    return extractor.run(extractor.prepare(images), frozenset(layers))


@pytest.mark.shared
def test_has_the_keys_and_shapes_of_the_published_file(shared: Path) -> None:
    shapes = json.loads((shared / "golden" / "inception" / "state_dict_shapes.json").read_text())
    assert {key: list(value.shape) for key, value in FIDInception().state_dict().items()} == shapes


@pytest.mark.shared
@pytest.mark.parametrize("case", GOLDEN_CASES)
def test_every_layer_equals_the_golden_features(shared: Path, extractor: InceptionExtractor, case: str) -> None:
    found = run(extractor, golden(shared, "inputs")[case], *LAYER_WIDTHS)
    expected = golden(shared, "outputs")
    for layer in LAYER_WIDTHS:
        reference = expected[f"{case}/{layer}"]
        scale = np.abs(reference).max()
        np.testing.assert_allclose(found[layer], reference, rtol=1e-4, atol=1e-5 * scale, err_msg=layer)


@pytest.mark.shared
def test_batch_and_order_do_not_matter(shared: Path, extractor: InceptionExtractor) -> None:
    images = golden(shared, "inputs")["noise_32"][:2]
    together = run(extractor, images, "2048", "logits_unbiased")
    apart = [run(extractor, images[i : i + 1], "2048", "logits_unbiased") for i in (1, 0)]
    for layer, rows in together.items():
        alone = np.concatenate([part[layer] for part in reversed(apart)])
        np.testing.assert_allclose(rows, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.shared
def test_equal_runs_are_bitwise_equal(shared: Path, extractor: InceptionExtractor) -> None:
    images = golden(shared, "inputs")["noise_32"][:1]
    one, two = run(extractor, images, "2048"), run(extractor, images, "2048")
    np.testing.assert_array_equal(one["2048"], two["2048"])


@pytest.mark.shared
def test_only_the_layers_asked_for_are_given(shared: Path, extractor: InceptionExtractor) -> None:
    images = golden(shared, "inputs")["noise_32"][:1]
    found = run(extractor, images, "64", "192")
    assert {name: rows.shape for name, rows in found.items()} == {"64": (1, 64), "192": (1, 192)}
    assert set(run(extractor, images, "logits")) == {"logits"}


@pytest.mark.shared
def test_folding_the_normalisation_changes_rounding_only(
    shared: Path, golden_weights: WeightsBytes, extractor: InceptionExtractor
) -> None:
    network = FIDInception().eval()
    network.load_state_dict(torch.load(io.BytesIO(golden_weights.data), weights_only=True))
    prepared = extractor.prepare(golden(shared, "inputs")["noise_32"][:1])
    with torch.inference_mode():
        plain = network(torch.from_numpy(prepared), frozenset({"2048"}))["2048"].numpy()
    np.testing.assert_allclose(extractor.run(prepared, frozenset({"2048"}))["2048"], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.shared
def test_bf16_is_close_and_says_so(shared: Path, golden_weights: WeightsBytes) -> None:
    images = golden(shared, "inputs")["face_299"]
    rough = make(golden_weights, precision="bf16")
    assert rough.stamp.precision == "bf16"
    found = run(rough, images, "2048")["2048"]
    reference = golden(shared, "outputs")["face_299/2048"]
    error = np.linalg.norm(found - reference) / np.linalg.norm(reference)
    assert 1e-5 < error < 0.05


@pytest.mark.shared
def test_clean_resize_is_another_protocol_with_other_features(
    shared: Path, golden_weights: WeightsBytes, extractor: InceptionExtractor
) -> None:
    images = golden(shared, "inputs")["face_512x384"]
    clean = make(golden_weights, resize="clean")
    assert clean.stamp != extractor.stamp
    difference = run(clean, images, "64")["64"] - run(extractor, images, "64")["64"]
    assert np.abs(difference).max() > 1e-3


@pytest.mark.gpu
@pytest.mark.shared
def test_a_gpu_gives_the_golden_features(shared: Path, golden_weights: WeightsBytes) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    extractor = make(golden_weights, device=torch.device("cuda"))
    for case in GOLDEN_CASES:
        found = run(extractor, golden(shared, "inputs")[case], *LAYER_WIDTHS)
        for layer in LAYER_WIDTHS:
            reference = golden(shared, "outputs")[f"{case}/{layer}"]
            scale = np.abs(reference).max()
            np.testing.assert_allclose(found[layer], reference, rtol=1e-4, atol=1e-5 * scale, err_msg=layer)


@pytest.mark.parametrize(("device", "message"), [("tricorder", "is unknown"), ("cuda", "no CUDA device")])
def test_devices_that_are_not_there(device: str, message: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UsageError, match=message):
        open_inception(
            weights=None,
            resize="legacy-tensorflow",
            precision="fp32",
            device=device,
            download=False,
            progress=None,
        )
