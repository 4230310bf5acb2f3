"""Decoding: every mode and format to RGB, orientation, damage that must end in a PictureError."""

import io
import threading
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from celebahq_tools.decode import MIN_SIDE, decode_picture, probe_picture
from celebahq_tools.errors import PictureError

SIZE = (23, 17)
"""Width and height of the test pictures; odd and different, so that no mix-up goes unseen."""


def noise(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    rng = np.random.default_rng(7)
    values = rng.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


def smooth(size: tuple[int, int] = SIZE) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return Image.fromarray((np.stack([x, y, 1 - x], axis=-1) * 255).round().astype(np.uint8))


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def decode(data: bytes, **options: object) -> np.ndarray:
    return decode_picture(data, name="picture", **options)


def reason(data: bytes, **options: object) -> str:
    with pytest.raises(PictureError) as caught:
        decode(data, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("picture: ")
    return caught.value.reason


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_very_pixels(file_format: str) -> None:
    image = noise()
    pixels = decode(encoded(image, file_format))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, np.asarray(image))


def test_webp_lossless() -> None:
    image = noise()
    np.testing.assert_array_equal(decode(encoded(image, "WEBP", lossless=True)), np.asarray(image))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_jpeg_is_close_to_what_was_encoded(options: dict[str, object]) -> None:
    image = smooth((64, 48))
    pixels = decode(encoded(image, "JPEG", quality=95, **options))
    assert np.abs(pixels.astype(int) - np.asarray(image)).max() < 12


def test_grayscale_becomes_three_equal_channels() -> None:
    image = noise("L")
    pixels = decode(encoded(image, "PNG"))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], np.asarray(image))


def test_one_bit_becomes_black_and_white() -> None:
    image = noise("L").convert("1")
    expected = np.asarray(image.convert("L"))
    np.testing.assert_array_equal(decode(encoded(image, "PNG"))[..., 0], expected)
    assert set(np.unique(expected)) == {0, 255}


def test_palette() -> None:
    image = noise().quantize(16)
    np.testing.assert_array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    image = noise(mode)
    pixels = decode(encoded(image, "PNG")).astype(float)
    values = np.asarray(image.convert("RGBA")).astype(float)
    alpha = values[..., 3:] / 255
    np.testing.assert_allclose(pixels, values[..., :3] * alpha + 255 * (1 - alpha), atol=1)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 160, 10))])
def test_transparent_palette_is_laid_over_white(transparency: int | bytes) -> None:
    image = noise().quantize(16)
    pixels = decode(encoded(image, "PNG", transparency=transparency))
    alphas = np.array(
        [255 * (index != transparency) for index in range(16)] if isinstance(transparency, int) else list(transparency)
    )
    alpha = alphas[np.asarray(image)][..., None] / 255
    expected = np.asarray(image.convert("RGB")) * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(pixels, expected, atol=1)


def test_transparent_colour_of_an_rgb_png() -> None:
    image = noise()
    image.putpixel((5, 4), (1, 2, 3))
    pixels = decode(encoded(image, "PNG", transparency=(1, 2, 3)))
    assert pixels[4, 5].tolist() == [255, 255, 255]
    assert pixels[4, 6].tolist() == list(image.getpixel((6, 4)))


@pytest.mark.parametrize("file_format", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_the_high_byte(file_format: str, channels: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 16, (SIZE[1], SIZE[0], channels), dtype=np.uint16)
    values[0, 0], values[0, 1] = 0, 0xFFFF
    ok, data = cv2.imencode(file_format, values)
    assert ok
    pixels = decode(data.tobytes())
    expected = np.broadcast_to((values >> 8)[..., ::-1], (*values.shape[:2], 3))
    np.testing.assert_array_equal(pixels, expected)


def test_sixteen_bit_pgm_is_scaled() -> None:
    samples = np.array([[0, 0x1234, 0x8000, 0xFFFF]] * 4, dtype=">u2")
    pixels = decode(b"P5\n4 4\n65535\n" + samples.tobytes())
    assert pixels[0, :, 0].tolist() == [0, 0x12, 0x80, 0xFF]


def test_floating_point_tiff_is_refused() -> None:
    image = Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    assert reason(encoded(image, "TIFF")) == "unsupported-mode"


def cmyk_jpeg(first: tuple[int, int, int, int]) -> bytes:
    return encoded(Image.new("CMYK", (16, 16), first), "JPEG", quality=100, subsampling=0)


def test_cmyk_jpeg_with_the_inverted_convention_of_adobe() -> None:
    cyan, magenta, yellow, black = 10, 200, 100, 40
    pixels = decode(cmyk_jpeg((cyan, magenta, yellow, black)))
    expected = [(255 - ink) * (255 - black) / 255 for ink in (cyan, magenta, yellow)]
    np.testing.assert_allclose(pixels[8, 8], expected, atol=3)


def test_ycck_jpeg() -> None:
    luma, blue, red, key = 120, 90, 170, 200
    # Pillow inverts what it writes; the marker's last byte says how the components are to be read.
    data = cmyk_jpeg((255 - luma, 255 - blue, 255 - red, 255 - key))
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    ycck = data[:at] + b"\x02" + data[at + 1 :]
    rgb = np.array(
        [
            luma + 1.402 * (red - 128),
            luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            luma + 1.772 * (blue - 128),
        ]
    )
    np.testing.assert_allclose(decode(ycck)[8, 8], (255 - rgb) * key / 255, atol=4)


def oriented(image: Image.Image, orientation: int, file_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, file_format, exif=exif)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(file_format: str, orientation: int) -> None:
    data = oriented(smooth(), orientation, file_format)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode(data)
    np.testing.assert_array_equal(pixels, expected)
    assert probe_picture(data, "picture")[:2] == (pixels.shape[1], pixels.shape[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_on_demand(orientation: int) -> None:
    image = smooth()
    data = oriented(image, orientation, "PNG")
    np.testing.assert_array_equal(decode(data, apply_orientation=False), np.asarray(image))
    assert probe_picture(data, "picture", apply_orientation=False)[:2] == SIZE


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_nonsense_orientation_counts_as_upright(orientation: int) -> None:
    image = smooth()
    np.testing.assert_array_equal(decode(oriented(image, orientation, "PNG")), np.asarray(image))


def test_damaged_exif_costs_neither_the_picture_nor_a_warning() -> None:
    image = smooth()
    data = encoded(image, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x40\0" + b"\xff" * 60)
    np.testing.assert_array_equal(decode(data), np.asarray(image))


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("GIF", {}), ("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True})],
)
def test_the_first_of_several_frames(file_format: str, options: dict[str, object]) -> None:
    first, second = Image.new("RGB", SIZE, (200, 30, 60)), Image.new("RGB", SIZE, (0, 250, 0))
    data = encoded(first, file_format, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(decode(data), np.asarray(first))


def test_content_decides_not_the_name() -> None:
    image = noise()
    pixels = decode_picture(encoded(image, "PNG"), name="portrait.jpg")
    np.testing.assert_array_equal(pixels, np.asarray(image))


def test_probe_reports_format_and_mode() -> None:
    assert probe_picture(encoded(noise("L"), "JPEG"), "picture") == (*SIZE, "JPEG", "L")
    assert probe_picture(encoded(noise("RGBA"), "PNG"), "picture") == (*SIZE, "PNG", "RGBA")


@pytest.mark.parametrize("size", [(1, 1), (MIN_SIDE - 1, 100), (100, MIN_SIDE - 1)])
def test_too_small(size: tuple[int, int]) -> None:
    assert reason(encoded(noise(size=size), "PNG")) == "too-small"


def test_smallest_accepted() -> None:
    assert decode(encoded(noise(size=(MIN_SIDE, MIN_SIDE)), "PNG")).shape == (MIN_SIDE, MIN_SIDE, 3)


def test_limit_of_pixels_is_inclusive() -> None:
    data = encoded(noise(size=(20, 10)), "PNG")
    assert decode(data, max_pixels=200).shape == (10, 20, 3)
    assert reason(data, max_pixels=199) == "too-many-pixels"


def test_large_pictures_raise_no_warning_of_pillow() -> None:
    data = bytearray(encoded(noise("1"), "PPM"))
    data[:] = data.replace(b"23 17", b"11000 10000")
    assert probe_picture(bytes(data), "picture")[:2] == (11000, 10000)


TRUNCATABLE = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "PPM": {},
}


@pytest.mark.parametrize("file_format", TRUNCATABLE)
@pytest.mark.parametrize("part", [0.2, 0.5, 0.8, 0.95])
def test_truncated_files_are_refused(file_format: str, part: float) -> None:
    data = encoded(noise(size=(64, 64)), file_format, **TRUNCATABLE[file_format])
    assert reason(data[: int(len(data) * part)]) in ("truncated", "corrupt")


def test_truncated_progressive_jpeg_is_refused() -> None:
    data = encoded(noise(size=(64, 64)), "JPEG", progressive=True)
    assert reason(data[: len(data) // 2]) == "truncated"


def test_jpeg_whose_tail_was_never_written_is_refused() -> None:
    data = encoded(noise(size=(128, 128)), "JPEG", quality=90)
    half = len(data) // 2
    assert reason(data[:half] + bytes(len(data) - half)) == "truncated"


def test_zeros_after_a_whole_jpeg_do_no_harm() -> None:
    data = encoded(smooth(), "JPEG")
    np.testing.assert_array_equal(decode(data + bytes(5000)), decode(data))


def test_threads_decode_without_warnings_or_changed_settings() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    image = noise().quantize(16)
    files = [
        encoded(image, "PNG", transparency=bytes(16)),
        encoded(smooth(), "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x40\0" + b"\xff" * 60),
        encoded(smooth(), "JPEG"),
    ]
    expected = [decode(data) for data in files]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(30):
                for data, pixels in zip(files, expected, strict=True):
                    np.testing.assert_array_equal(decode(data), pixels)
        except BaseException as error:
            failures.append(error)

    filters = list(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert list(warnings.filters) == filters


SEEDS = [
    encoded(noise(), file_format, **options) for file_format, options in TRUNCATABLE.items() if file_format != "PPM"
] + [encoded(noise("P"), "PNG"), oriented(smooth(), 6, "JPEG"), oriented(smooth(), 3, "TIFF")]


@given(
    seed=st.sampled_from(SEEDS),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_damage_ends_in_a_picture_or_a_picture_error(seed: bytes, damage: list[tuple[float, int]], cut: float) -> None:
    data = bytearray(seed)
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        pixels = decode(bytes(data[: max(1, int(len(data) * (0.5 + cut)))]), max_pixels=1 << 20)
    except PictureError as caught:
        refused = caught
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)
        return
    assert refused.reason
    assert "\n" not in str(refused)
