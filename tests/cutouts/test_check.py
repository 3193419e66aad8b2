from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gzflow.cutouts.check import MAX_PIXELS, check_fits, check_image, empty_share
from gzflow.cutouts.formats import beginning, sniff
from gzflow.cutouts.picture import read_picture
from gzflow.errors import (
    BadPixels,
    BlankImage,
    CutoutError,
    NotAnImage,
    PermanentCutoutError,
    TruncatedImage,
    WrongSize,
)


def galaxy(side: int = 48, channels: int = 3, peak: float = 200.0) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    profile = peak * np.exp(-np.hypot(x, 1.5 * y) / (side / 10)) + 12
    noise = np.random.default_rng(1).normal(0, 4, (side, side, channels))
    return np.clip(profile[..., None] + noise, 0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels.squeeze()).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def cube(bands: int = 3, side: int = 32, names: str | None = "grz") -> fits.PrimaryHDU:
    unit = fits.PrimaryHDU(np.random.default_rng(2).normal(0.01, 0.005, (bands, side, side)).astype(np.float32))
    if names:
        unit.header["BANDS"] = names
    return unit


def fits_bytes(unit: fits.PrimaryHDU) -> bytes:
    stream = BytesIO()
    unit.writeto(stream)
    return stream.getvalue()


def test_png_keeps_its_pixels() -> None:
    pixels = galaxy()
    checked = check_image(encoded(pixels), size=(48, 48), what="g")
    assert (checked.format, checked.width, checked.height) == ("PNG", 48, 48)
    assert checked.pixels.flags.c_contiguous
    np.testing.assert_array_equal(checked.pixels, pixels)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True, "quality": 30}, {"subsampling": 0}])
def test_every_kind_of_jpeg_is_decoded_in_rgb(options: dict[str, object]) -> None:
    pixels = galaxy()
    pixels[..., 0] //= 2
    content = encoded(pixels, "JPEG", **options)
    checked = check_image(content, size=None, what="g")
    assert checked.format == "JPEG"
    np.testing.assert_allclose(checked.pixels, np.asarray(Image.open(BytesIO(content))), atol=6)


def test_other_pixel_types_become_rgb() -> None:
    grey = galaxy(channels=1)
    np.testing.assert_array_equal(check_image(encoded(grey), size=None, what="g").pixels, np.repeat(grey, 3, axis=2))
    colour = galaxy()
    opaque = np.dstack([colour, np.full((48, 48), 255, np.uint8)])
    np.testing.assert_array_equal(check_image(encoded(opaque), size=None, what="g").pixels, colour)
    hidden = opaque.copy()
    hidden[:24, :, 3] = 0
    laid_over_black = check_image(encoded(hidden), size=None, what="g").pixels
    assert not laid_over_black[:24].any()
    np.testing.assert_array_equal(laid_over_black[24:], colour[24:])
    grey_alpha = np.dstack([grey, np.full((48, 48), 255, np.uint8)])
    np.testing.assert_array_equal(check_image(encoded(grey_alpha), size=None, what="g").pixels[..., 1], grey[..., 0])
    palette = Image.fromarray(colour).quantize(64)
    stream = BytesIO()
    palette.save(stream, "PNG")
    np.testing.assert_array_equal(
        check_image(stream.getvalue(), size=None, what="g").pixels, np.asarray(palette.convert("RGB"))
    )


def test_sixteen_bits_are_scaled_to_eight() -> None:
    deep = np.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(np.uint16)
    ok, content = cv2.imencode(".png", deep)
    assert ok
    pixels = check_image(content.tobytes(), size=None, what="g").pixels
    np.testing.assert_array_equal(pixels[..., 0], np.rint(deep / 257).astype(np.uint8))


def test_every_truncation_of_a_jpeg_or_png_is_refused() -> None:
    for content in (encoded(galaxy(32)), encoded(galaxy(32), "JPEG"), encoded(galaxy(32), "JPEG", progressive=True)):
        for length in range(len(content)):
            with pytest.raises(PermanentCutoutError) as caught:
                check_image(content[:length], size=(32, 32), what="g")
            if length > 8:
                assert isinstance(caught.value, TruncatedImage)


def test_an_end_marker_inside_a_thumbnail_does_not_make_a_jpeg_whole() -> None:
    content = encoded(galaxy(), "JPEG", exif=b"Exif\0\0" + encoded(galaxy(16), "JPEG"))
    assert content.count(b"\xff\xd9") == 2
    check_image(content, size=(48, 48), what="g")
    with pytest.raises(TruncatedImage, match="ends early"):
        check_image(content[: len(content) * 3 // 4], size=(48, 48), what="g")


def test_bytes_after_the_end_are_allowed() -> None:
    for kind in ("PNG", "JPEG"):
        check_image(encoded(galaxy(), kind) + b"\n\n", size=(48, 48), what="g")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_in_a_png_never_passes(data: st.DataObject) -> None:
    content = bytearray(encoded(galaxy(24)))
    at = data.draw(st.integers(8, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CutoutError):
        check_image(bytes(content), size=(24, 24), what="g")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"SIMPLE  =", b"BM"]))
def test_arbitrary_bytes_raise_only_our_errors(body: bytes, start: bytes) -> None:
    for check in (
        lambda content: check_image(content, size=None, what="g"),
        lambda content: check_fits(content, shape=None, what="g"),
        lambda content: read_picture(content, what="g"),
    ):
        with pytest.raises(CutoutError):
            check(start + body)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html><title>503 Service Unavailable</title>", ["HTML", "503 Service"]),
        (b'{"msg": "No coverage"}', ["JSON", "No coverage"]),
        (b"no such layer\n", ["text", "no such layer"]),
        (b"GIF89a....", ["GIF"]),
        (b"PK\x03\x04....", ["ZIP"]),
        (bytes(range(128, 200)), ["unknown bytes"]),
    ],
)
def test_other_bodies_are_named(content: bytes, words: list[str]) -> None:
    with pytest.raises(NotAnImage) as caught:
        check_image(content, size=None, what="J1")
    assert all(word in str(caught.value) for word in [*words, "J1", "expected"])


def test_an_empty_body_is_truncated() -> None:
    with pytest.raises(TruncatedImage, match="0 bytes"):
        check_image(b"", size=None, what="g")
    with pytest.raises(TruncatedImage, match="0 bytes"):
        check_fits(b"", shape=None, what="g")


def test_wrong_size_names_both_sizes() -> None:
    with pytest.raises(WrongSize) as caught:
        check_image(encoded(galaxy(48)), size=(64, 32), what="g")
    assert "48 x 48" in str(caught.value)
    assert "64 x 32" in str(caught.value)


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    side = 60_000
    assert side * side > MAX_PIXELS
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(WrongSize, match="60000 x 60000"):
        check_image(bomb, size=None, what="g")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("colour", [(0, 0, 0), (22, 22, 22), (32, 32, 32), (255, 255, 255), (10, 200, 90)])
def test_uniform_images_are_blank(kind: str, colour: tuple[int, int, int]) -> None:
    with pytest.raises(BlankImage, match="every pixel is"):
        check_image(encoded(np.full((50, 50, 3), colour, np.uint8), kind), size=None, what="g")


def test_a_small_faint_galaxy_on_black_is_not_blank() -> None:
    pixels = np.zeros((424, 424, 3), np.uint8)
    pixels[210:213, 210:213] = 9
    assert check_image(encoded(pixels), size=None, what="g").pixels.max() == 9


def test_fits_is_read_in_order_with_its_header() -> None:
    unit = cube()
    checked = check_fits(fits_bytes(unit), shape=(3, 32, 32), what="g")
    assert checked.bands == "grz"
    assert checked.pixels.dtype == np.float32
    assert checked.header["NAXIS3"] == 3
    np.testing.assert_array_equal(checked.pixels, unit.data)
    flat = check_fits(fits_bytes(fits.PrimaryHDU(unit.data[0])), shape=(1, 32, 32), what="g")
    np.testing.assert_array_equal(flat.pixels[0], unit.data[0])
    with pytest.raises(WrongSize, match="3, 64, 64"):
        check_fits(fits_bytes(unit), shape=(3, 64, 64), what="g")


def test_every_truncation_of_fits_is_refused() -> None:
    content = fits_bytes(cube())
    for length in [*range(9, len(content), 997), len(content) - 2880, len(content) - 1]:
        with pytest.raises(TruncatedImage):
            check_fits(content[:length], shape=None, what="g")


def test_unobserved_pixels_are_counted_per_band() -> None:
    unit = cube()
    unit.data[0, :8] = 0  # a quarter
    unit.data[2, :, :16] = np.nan
    with pytest.raises(BadPixels) as caught:
        check_fits(fits_bytes(unit), shape=None, what="g")
    assert "g 25.0%" in str(caught.value)
    assert "z 50.0%" in str(caught.value)
    assert "r " not in caught.value.what.split(":")[1]
    check_fits(fits_bytes(unit), shape=None, what="g", bad_share=0.6)
    unnamed = cube(names=None)
    unnamed.data[1] = 0
    with pytest.raises(BadPixels, match=r"band 1 100.0%"):
        check_fits(fits_bytes(unnamed), shape=None, what="g")


@pytest.mark.parametrize("unit", [fits.PrimaryHDU(), fits.PrimaryHDU(np.ones(5, np.float32))])
def test_fits_without_an_image_is_refused(unit: fits.PrimaryHDU) -> None:
    with pytest.raises(NotAnImage):
        check_fits(fits_bytes(unit), shape=None, what="g")


def extension(content: np.ndarray | None, kind: str = "image") -> bytes:
    stream = BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.arange(5.0))])
    second = table if kind == "table" else fits.ImageHDU(content)
    fits.HDUList([fits.PrimaryHDU(), second]).writeto(stream)
    return stream.getvalue()


def test_fits_with_its_image_in_an_extension() -> None:
    pixels = np.random.default_rng(3).normal(1, 0.1, (9, 7)).astype(np.float32)
    content = extension(pixels)
    np.testing.assert_array_equal(check_fits(content, shape=(1, 9, 7), what="a").pixels[0], pixels)
    with pytest.raises(TruncatedImage):
        check_fits(content[:-2880], shape=None, what="a")
    with pytest.raises(TruncatedImage):
        check_fits(content[: 2880 + 1000], shape=None, what="a")
    with pytest.raises(NotAnImage, match="begins with a table"):
        check_fits(extension(None, "table"), shape=None, what="a")
    with pytest.raises(NotAnImage):
        check_fits(extension(None), shape=None, what="a")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.integers(0, 8), st.integers(0, 33), st.sampled_from(b" 0123456789-+.='/\x00\xffTFE")
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_damaged_fits_headers_raise_only_our_errors(
    changes: list[tuple[int, int, int, int]], in_extension: bool
) -> None:
    pixels = np.random.default_rng(3).normal(1, 0.1, (20, 20)).astype(np.float32)
    content = bytearray(extension(pixels) if in_extension else unit_bytes(fits.PrimaryHDU(pixels)))
    for block, card, at, value in changes:
        content[(2880 * block + 80 * card + at) % len(content)] = value
    with contextlib.suppress(CutoutError):
        assert check_fits(bytes(content), shape=None, what="a").pixels.ndim == 3


@pytest.mark.parametrize("value", ["1E999", "99999999999999999999", "4294967296", "T", ""])
@pytest.mark.parametrize("name", ["BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "XTENSION"])
def test_senseless_fits_cards_raise_only_our_errors(name: str, value: str) -> None:
    content = extension(np.ones((20, 20), np.float32))
    at = content.rfind(f"{name:8}=".encode())
    damaged = content[:at] + f"{name:8}= {value:>20}".ljust(80).encode() + content[at + 80 :]
    with pytest.raises(CutoutError):
        check_fits(damaged, shape=None, what="a")


def test_axes_that_overflow_64_bits_are_too_many_pixels() -> None:
    content = unit_bytes(fits.PrimaryHDU(np.ones((20, 20), np.float32)))
    for axis in (1, 2):
        content = content.replace(f"NAXIS{axis}  = {20:>20}".encode(), f"NAXIS{axis}  = {2**32:>20}".encode())
    with pytest.raises(WrongSize, match="at most"):
        check_fits(content, shape=None, what="a")


def unit_bytes(unit: fits.PrimaryHDU) -> bytes:
    stream = BytesIO()
    unit.writeto(stream)
    return stream.getvalue()


def test_the_share_of_empty_blocks() -> None:
    sky = np.random.default_rng(3).integers(20, 60, (64, 64, 3), dtype=np.uint8)
    assert empty_share(sky, 32) == 0
    sky[:, :32] = 32
    assert empty_share(sky, 32) == 0.5
    assert empty_share(sky, 22) == 0
    sky[0, 0] = 40  # a block with anything in it is not empty
    assert empty_share(sky, 32) == pytest.approx(31 / 64)
    assert empty_share(sky[:4], 32) == 0


def test_sniffing_names_text_and_shows_its_beginning() -> None:
    assert sniff(b"\xef\xbb\xbf  <HTML><body>") == "HTML"
    assert sniff(b"<?xml version='1.0'?>") == "XML"
    assert sniff(b"") == "unknown bytes"
    assert beginning(b"a\n\nb\x00" + b"c" * 200) == ("a b." + "c" * 75 + "…")


def test_read_picture_takes_published_pictures_as_they_are_and_fits_by_recipe() -> None:
    pixels = galaxy()
    np.testing.assert_array_equal(read_picture(encoded(pixels), what="g", recipe_name="gzdecals"), pixels)
    assert read_picture(fits_bytes(cube()), what="g", recipe_name="gzdecals").shape == (32, 32, 3)
    with pytest.raises(NotAnImage, match="no picture yet"):
        read_picture(fits_bytes(cube()), what="g")
    with pytest.raises(NotAnImage, match="gri"):
        read_picture(fits_bytes(cube(names="gri")), what="g", recipe_name="gzdecals")
    with pytest.raises(NotAnImage, match="2 bands"):
        read_picture(fits_bytes(cube(bands=2, names=None)), what="g", recipe_name="gzdecals")


def test_real_pictures_of_four_surveys(shared_data: Path) -> None:
    refused, accepted = [], 0
    folders = ("ferengi/images", "hubble/jpg", "gz_samples", "decals_fits")
    for path in sorted(p for f in folders for p in (shared_data / f).rglob("*") if p.suffix in {".jpg", ".png"}):
        try:
            checked = check_image(path.read_bytes(), size=(424, 424), what=path.name)
        except TruncatedImage:
            refused.append(path.name)
        else:
            assert checked.pixels.shape == (424, 424, 3)
            accepted += 1
    assert refused == ["5249ce0c3ae74072a3003b73.jpg"]
    assert accepted > 90


def test_real_fits_good_bad_and_truncated(shared_data: Path) -> None:
    folder = shared_data / "decals_fits"
    good = check_fits((folder / "example_a.fits").read_bytes(), shape=(3, 424, 424), what="a")
    assert good.bands == "grz"
    with pytest.raises(BadPixels, match=r"g 75\.7%, r 72\.8%"):
        check_fits((folder / "example_bad_pix.fits").read_bytes(), shape=None, what="b")
    with pytest.raises(TruncatedImage, match="1,389,044 bytes of the 2,162,880"):
        check_fits((folder / "example_incomplete.fits").read_bytes(), shape=None, what="c")
