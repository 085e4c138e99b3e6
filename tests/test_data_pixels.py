"""Which pixels are made of an image: orientation, transparency, depth, colour, size, and what is no image."""

from __future__ import annotations

import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from secateur.cli.main import main
from secateur.data import load_data
from secateur.data.formats import UNREADABLE, decodable, hint, left_out_because
from secateur.data.pixels import PixelFormat, reduce
from secateur.data.preprocessing import Preprocessing
from secateur.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))


RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (8, 12), dtype=np.uint8)
ALPHA[0] = 0
TWELVE = RNG.integers(0, 4096, (8, 12, 3))
SIXTEEN = RNG.integers(0, 65536, (8, 12, 4))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def oriented(image: Image.Image, orientation: int, kind: str, **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif, **options)


def png16(values: np.ndarray, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow itself writes of grey images alone."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + extra
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff16(values: np.ndarray, order: str, compression: int = 1) -> bytes:
    """A TIFF of 16 bits a channel in either byte order, plain or deflated (8)."""
    end = {"II": "<", "MM": ">"}[order]
    height, width, channels = values.shape
    content = values.astype(end + "u2").tobytes()
    content = zlib.compress(content) if compression == 8 else content
    count = 9
    after = 8 + 2 + 12 * count + 4
    bits = struct.pack(f"{end}{channels}H", *[16] * channels)
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 4, channels, after),
        (259, 3, 1, compression),
        (262, 3, 1, 2),
        (273, 4, 1, after + len(bits)),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(content)),
    ]
    table = b""
    for tag, kind, number, value in entries:
        kind = 3 if tag == 258 else kind
        packed = (
            struct.pack(end + "HH", value, 0) if kind == 3 and tag != 258 else struct.pack(end + "I", value)
        )
        table += struct.pack(end + "HHI", tag, kind, number) + packed
    return (
        order.encode()
        + struct.pack(end + "HI", 42, 8)
        + struct.pack(end + "H", count)
        + table
        + struct.pack(end + "I", 0)
        + bits
        + content
    )


def over(colours: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Porter and Duff 1984, "over", in floats: (H, W, 3)."""
    if colours.ndim == 2:
        colours = np.dstack([colours] * 3)
    share = alpha[..., None] / 255
    return colours * share + np.array(background) * (1 - share)


def pixels(content: bytes, **options) -> np.ndarray:
    """(H, W, 3) as they come out at the image's own size."""
    height, width = RGB.shape[:2]
    return PixelFormat(3, height, width, **options).read(content).transpose(1, 2, 0)


# --- orientation ----------------------------------------------------------------------------------------

UPRIGHT = {  # EXIF 2.32, table 6: what the 0th row and the 0th column of the stored pixels are, undone
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
BLOCKS = np.kron(RNG.integers(0, 2, (4, 6, 1)) * 200 + 20, np.ones((16, 16, 3))).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 95}, 3),
    ],
)
def test_images_are_turned_upright(kind, options, tolerance, orientation):
    content = oriented(Image.fromarray(BLOCKS), orientation, kind, **options)
    expected = UPRIGHT[orientation](BLOCKS)
    found = PixelFormat(3, *expected.shape[:2]).read(content).transpose(1, 2, 0)
    assert np.abs(found.astype(int) - expected).mean() <= tolerance


def test_an_orientation_that_is_none_is_none():
    assert (pixels(oriented(Image.fromarray(RGB), 9, "PNG")) == RGB).all()


def test_sizes_are_compared_upright(tmp_path):
    """640x480 with orientation 6 is 480x640."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(12):
            image = Image.new("RGB", (64, 48) if k % 2 else (48, 64), (k * 9, 0, 0))
            content = oriented(image, 6, "JPEG") if k % 2 else encoded(image, "JPEG")
            (tmp_path / "photos" / name / f"{k}.jpg").write_bytes(content)
    data = load_data(str(tmp_path / "photos"))
    assert data.shape == (3, 64, 48)
    assert "12 images turned upright as EXIF says" in data.found.remarks


# --- transparency ---------------------------------------------------------------------------------------

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)
TURNS = {"white": WHITE, "black": BLACK, "#ff0000": RED}


@pytest.mark.parametrize("background", TURNS)
@pytest.mark.parametrize("colours", [RGB, GREY], ids=["RGBA", "LA"])
def test_transparency_is_put_on_a_background(colours, background):
    content = encoded(Image.fromarray(np.dstack([colours, ALPHA])))
    found = pixels(content, background=background)
    expected = over(colours, ALPHA, TURNS[background])
    assert np.abs(found - expected).max() <= 1
    assert (found[0] == TURNS[background]).all()  # whatever colour hides there


@pytest.mark.parametrize("colours", [RGB, GREY], ids=["RGBa", "La"])
def test_premultiplied_transparency(colours):
    alpha = np.full_like(ALPHA, 128)
    image = Image.fromarray(np.dstack([colours, alpha]))
    image = image.convert("RGBa" if image.mode == "RGBA" else "La")
    found = PixelFormat(3, *alpha.shape).pixels(image).transpose(1, 2, 0)
    assert np.abs(found - over(colours, alpha, WHITE)).max() <= 2


def test_a_transparent_palette():
    image = Image.fromarray(RGB).quantize(16)
    index = np.asarray(image)
    alpha = np.where(index == 3, 0, 255)
    expected = over(np.asarray(image.convert("RGB")), alpha, WHITE)
    assert (pixels(encoded(image, transparency=3)) == expected).all()


def test_a_colour_that_png_declares_transparent():
    grey, colour = GREY.copy(), RGB.copy()
    grey[2, 3], colour[2, 3] = 7, (1, 2, 3)
    found = pixels(encoded(Image.fromarray(grey), transparency=7))
    assert (found == over(grey, np.where(grey == 7, 0, 255), WHITE)).all()
    found = pixels(encoded(Image.fromarray(colour), transparency=(1, 2, 3)))
    assert (found == over(colour, np.where((colour == (1, 2, 3)).all(2), 0, 255), WHITE)).all()


def test_a_grey_level_of_16_bits_that_png_declares_transparent():
    values = SIXTEEN[..., :1].copy()
    values[2, 3] = 4660
    found = pixels(png16(values, _chunk(b"tRNS", struct.pack(">H", 4660))))
    assert found[2, 3].tolist() == [255, 255, 255]
    assert (found[5:, :, 0] == values[5:, :, 0] >> 8).all()


def test_transparent_grey_images_stay_grey_on_grey_and_not_on_colour(tmp_path):
    make(tmp_path / "shapes", lambda k: Image.fromarray(np.dstack([GREY, ALPHA])))
    data = load_data(str(tmp_path / "shapes"))
    assert data.shape == (1, 8, 12)
    assert "24 images transparent, put on white" in data.found.remarks
    expected = over(GREY, ALPHA, WHITE)[..., 0]
    assert np.abs(data.train.images[0, 0].numpy() - expected).max() <= 1
    assert load_data(str(tmp_path / "shapes"), background="#ff0000").shape == (3, 8, 12)


# --- depth and colour -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "values", "depth"),
    [
        (png16(TWELVE), TWELVE, 12),
        (png16(SIXTEEN[..., :3]), SIXTEEN[..., :3], 16),
        (tiff16(TWELVE, "II"), TWELVE, 12),
        (tiff16(TWELVE, "MM"), TWELVE, 12),
        (tiff16(TWELVE, "II", 8), TWELVE, 12),
        (tiff16(TWELVE, "MM", 8), TWELVE, 12),
        (png16(TWELVE[..., :1]), TWELVE[..., [0, 0, 0]], 12),
        (encoded(Image.fromarray(TWELVE[..., 0].astype(np.uint16)), "TIFF"), TWELVE[..., [0, 0, 0]], 12),
        (encoded(Image.fromarray(TWELVE[..., 0].astype(np.int32)), "TIFF"), TWELVE[..., [0, 0, 0]], 12),
    ],
)
def test_the_upper_8_of_the_bits_used_are_kept(content, values, depth):
    assert (pixels(content, depth=depth) == values >> (depth - 8)).all()


def test_colours_of_16_bits_with_alpha():
    values = SIXTEEN.copy()
    values[..., :3] >>= 4
    expected = over(values[..., :3] >> 4, values[..., 3] >> 8, WHITE)
    assert np.abs(pixels(png16(values), depth=12) - expected).max() <= 1


@pytest.mark.parametrize(("brightest", "depth"), [(4095, 12), (4096, 13), (200, 8), (65535, 16)])
def test_the_range_of_the_whole_set_decides(tmp_path, brightest, depth):
    values = [np.full((6, 6), brightest // (1 + k), np.uint16) for k in range(24)]
    make(tmp_path / "scans", lambda k: Image.fromarray(values[k]), extension=".tif")
    data = load_data(str(tmp_path / "scans"))
    assert data.format.depth == depth
    splits = (data.train, data.val, data.test)
    assert max(int(split.images.max()) for split in splits) == brightest >> (depth - 8)
    assert f"24 images of 16 bits, of which {depth} are used" in data.found.line()


@pytest.mark.parametrize(("spell", "extension"), [(png16, ".png"), (partial(tiff16, order="II"), ".tif")])
def test_a_set_of_12_bit_colours_keeps_their_upper_8(tmp_path, spell, extension):
    """Of a PNG the depth is known before it is decoded alone."""
    for kind, brightest in (("cat", 4095), ("dog", 1600)):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for k in range(12):
            content = spell(np.full((6, 6, 3), brightest - k, np.uint16))
            (tmp_path / "scans" / kind / f"{k}{extension}").write_bytes(content)
    data = load_data(str(tmp_path / "scans"))
    assert data.format.depth == 12
    assert max(int(split.images.max()) for split in (data.train, data.val, data.test)) == 255
    assert "24 images of 16 bits, of which 12 are used" in data.found.line()


def test_floats_in_0_to_1_are_scaled_and_others_refused():
    shares = RNG.random((8, 12)).astype(np.float32)
    found = pixels(encoded(Image.fromarray(shares), "TIFF"))
    assert (found[..., 0] == np.round(shares * 255)).all()
    for wrong in (shares * 300, shares - 0.5, np.full((8, 12), np.nan, np.float32)):
        with pytest.raises(ValueError, match=r"floating-point pixels must lie in \[0, 1\]"):
            pixels(encoded(Image.fromarray(wrong), "TIFF"))


def test_integers_beyond_16_bits_are_refused():
    with pytest.raises(ValueError, match="32-bit pixels of 0 to 65536 have no fixed range"):
        pixels(encoded(Image.fromarray(np.array([[0, 65536]], np.int32)), "TIFF"))


def test_other_colour_spaces_become_rgb():
    smooth = Image.fromarray(BLOCKS)
    lab = ImageCms.profileToProfile(
        smooth, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    wanted = PixelFormat(3, *BLOCKS.shape[:2])
    for content in (
        encoded(smooth.convert("CMYK"), "JPEG", quality=95),
        encoded(smooth.convert("CMYK"), "TIFF"),
        encoded(smooth.convert("YCbCr"), "TIFF"),
        encoded(lab, "TIFF"),
        encoded(smooth.convert("P", palette=Image.Palette.ADAPTIVE), "GIF"),
    ):
        found = wanted.read(content).transpose(1, 2, 0)
        assert np.abs(found.astype(int) - BLOCKS).mean() < 3
    assert np.abs(wanted.pixels(smooth.convert("HSV")).transpose(1, 2, 0).astype(int) - BLOCKS).max() <= 3


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(GREY > 127)
    assert (pixels(encoded(bits))[..., 0] == np.where(GREY > 127, 255, 0)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken_and_that_is_said(tmp_path, kind):
    frames = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (40, 120, 240)]
    options = {
        "save_all": True,
        "append_images": frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    }
    make(tmp_path / "moving", lambda k: frames[0], extension=".png")
    (tmp_path / "moving" / "cat" / f"x.{kind.lower()}").write_bytes(encoded(frames[0], kind, **options))
    data = load_data(str(tmp_path / "moving"))
    splits = (data.train, data.val, data.test)
    assert max(int(split.images[:, 0].max()) for split in splits) == 40
    assert "1 image with several frames or pages: the first is taken" in data.found.remarks


# --- size -----------------------------------------------------------------------------------------------

WIDE = np.repeat(np.array([[10, 20, 30, 40]], np.uint8), 2, 0)  # 2 rows of 4 columns


@pytest.mark.parametrize(
    ("fit", "rows"),
    [
        ("crop", [[20, 30], [20, 30]]),
        ("squash", [[16, 34], [16, 34]]),  # antialiased: weights 3/8, 3/8, 1/4 of each half and its neighbour
        ("pad", [[255, 255, 255, 255], [10, 20, 30, 40], [10, 20, 30, 40], [255, 255, 255, 255]]),
    ],
)
def test_fits(fit, rows):
    side = len(rows)
    found = PixelFormat(1, side, side, fit).pixels(Image.fromarray(WIDE))
    assert np.abs(found[0].astype(int) - rows).max() <= 1


def test_padding_has_the_colour_of_the_background():
    found = PixelFormat(3, 4, 4, "pad", "#102030").pixels(Image.fromarray(RGB[:4, :2]))
    assert (found[:, :, [0, 3]] == np.array([16, 32, 48])[:, None, None]).all()
    assert (found[:, :, 1:3].transpose(1, 2, 0) == RGB[:4, :2]).all()


@pytest.mark.parametrize("options", [{"fit": "stretch"}, {"background": "grey"}, {"background": "#fff"}])
def test_looks_that_are_none(options):
    with pytest.raises(InputError, match="must be"):
        PixelFormat(3, 4, 4, **options)
    with pytest.raises(InputError, match="must be"):
        load_data("digits", **options)


def test_a_size_is_proposed_where_sizes_differ(tmp_path):
    sizes = [(480, 640), (1024, 768), (700, 700)]
    make(tmp_path / "photos", lambda k: Image.new("RGB", sizes[k % 3], (k, 0, 0)), extension=".jpg")
    with pytest.raises(InputError, match=r"0.jpg is 480x640 and .*1.jpg is 1024x768: .*--image-size 224 \("):
        load_data(str(tmp_path / "photos"))
    found = load_data(str(tmp_path / "photos"), image_size=16, fit="pad").found
    assert (found.smallest, found.largest, found.size, found.fit) == (
        (480, 640),
        (1024, 768),
        (16, 16),
        "pad",
    )


def smooth(width: int, height: int) -> Image.Image:
    low = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_at_a_reduced_scale_to_the_same_pixels(fit, orientation):
    content = oriented(smooth(1600, 1200), orientation, "JPEG", quality=90)
    wanted = PixelFormat(3, 64, 64, fit)
    with Image.open(io.BytesIO(content)) as image:
        reduce(image, wanted)
        assert image.size == (200, 150)
    with Image.open(io.BytesIO(content)) as image:
        whole = wanted.pixels(image)
    assert np.abs(wanted.read(content).astype(int) - whole).mean() < 1.5


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 128), (200, 255)])
def test_a_jpeg_that_is_not_much_larger_is_decoded_as_a_whole(width, height):
    content = encoded(smooth(width, height), "JPEG")
    wanted = PixelFormat(3, 64, 64)
    with Image.open(io.BytesIO(content)) as image:
        assert (wanted.read(content) == wanted.pixels(image)).all()


def test_ordinary_images_have_the_pixels_of_earlier_versions(tmp_path):
    """Fingerprints as at commit 9f77627."""
    rng = np.random.default_rng(5)
    for name in ("cat", "dog"):
        (tmp_path / "ordinary" / name).mkdir(parents=True)
        for k in range(12):
            height, width = [(40, 40), (48, 40), (40, 64)][k % 3]
            low = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
            image = low.resize((width, height), Image.Resampling.BICUBIC)
            image.save(tmp_path / "ordinary" / name / f"{k:02}.{'jpg' if k % 2 else 'png'}")
    found = [load_data(str(tmp_path / "ordinary"), image_size=side).fingerprint for side in (16, 40, 100)]
    assert found == ["b937b2a9b5d8d27c", "3221918f9f3cba50", "f39b894fa6db12fe"]


# --- what is an image -----------------------------------------------------------------------------------

PNG = encoded(Image.fromarray(RGB))
HEIC = b"\0\0\0\x18ftypheic" + b"\0" * 500


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jpg", PNG, None),
        ("a.JFIF", encoded(Image.fromarray(RGB), "JPEG"), None),
        ("a.jpe", encoded(Image.fromarray(RGB), "JPEG"), None),
        ("a.avif", encoded(Image.fromarray(RGB), "AVIF"), None),
        ("a.tga", encoded(Image.fromarray(RGB), "TGA"), None),
        ("a.ico", encoded(Image.fromarray(RGB), "ICO"), None),
        ("a.jp2", encoded(Image.fromarray(RGB), "JPEG2000"), None),
        ("noext", PNG, None),
        ("a.part", PNG, None),
        ("a.HEIC", PNG, None),  # as some programs copy them: by content
        ("broken.jpg", b"<html>403</html>", None),  # called an image: refused by name when it is read
        ("IMG_1.HEIC", HEIC, ".heic"),
        ("a.CR2", b"II*\0" + b"\0" * 100, ".cr2"),
        ("a.dng", encoded(Image.fromarray(RGB), "TIFF"), ".dng"),  # its first picture is a thumbnail
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ".eps"),
        ("a.txt", b"BMI index of patients", ".txt"),
        ("notes", b"", "without extension"),
    ],
)
def test_what_is_an_image(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert left_out_because(tmp_path / name) == reason


def test_a_link_to_nowhere_is_unreadable(tmp_path):
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    assert left_out_because(tmp_path / "gone") == UNREADABLE


def test_programs_are_never_started():
    assert not {"EPS", "PDF", "WMF"} & set(decodable())


def test_hints():
    assert hint([".heic", ".txt"]) == "for .heic run `pip install 'secateur[heic]'`"
    assert hint([".nef", ".heic"]).endswith("; export .nef (raw sensor data) as JPEG or PNG")
    assert hint([".txt"]) == ""


def make(root: Path, image, extension: str = ".png") -> Path:
    """Two classes of 12 images, `image(k)` for k = 0..23."""
    for c, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for k in range(12):
            image(12 * c + k).save(root / name / f"{k}{extension}")
    return root


def damage(root: Path) -> None:
    """Six files that cannot be read, and a link to nowhere."""
    good = encoded(smooth(64, 64), "JPEG")
    (root / "cat" / "html.jpg").write_bytes(b"<!doctype html><html>403</html>")
    (root / "cat" / "truncated.jpg").write_bytes(good[: len(good) // 2])
    (root / "cat" / "zero.jpg").write_bytes(b"")
    (root / "dog" / "gone.png").symlink_to(root / "nothing.png")
    (root / "dog" / "half.png").write_bytes(PNG[: len(PNG) // 2])
    (root / "dog" / "float.tif").write_bytes(encoded(Image.fromarray(np.full((8, 8), 7, np.float32)), "TIFF"))
    (root / "dog" / "wide.tif").write_bytes(
        encoded(Image.fromarray(np.full((8, 8), 99999, np.int32)), "TIFF")
    )


def numbered(k: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (k * 10, 0, 0))


def test_all_unreadable_files_are_listed_at_once(tmp_path):
    root = make(tmp_path / "photos", numbered)
    damage(root)
    with pytest.raises(InputError) as caught:
        load_data(str(root), image_size=8)
    message = str(caught.value)
    assert "\n" not in message
    assert "but 6 of 30 are not: " in message
    assert "html.jpg (no image format that Pillow knows)" in message
    assert "truncated.jpg (" in message
    assert message.count("/photos/") == 5
    assert "and 1 more: replace or remove them, or leave them out with --skip-unreadable" in message
    assert not list((tmp_path / "cache").glob("*"))


def test_unreadable_files_are_left_out_and_counted(tmp_path):
    root = make(tmp_path / "photos", numbered)
    plain = load_data(str(root), image_size=8)
    damage(root)
    for _ in range(2):  # decoded, then from the cache
        data = load_data(str(root), image_size=8, skip_unreadable=True)
        assert data.found.left_out == {"broken links": 1, UNREADABLE: 6}
        assert "left out: 1 broken link, 6 unreadable" in data.found.line()
        assert data.fingerprint == plain.fingerprint


def test_a_class_of_unreadable_files_alone_is_refused(tmp_path):
    root = make(tmp_path / "photos", numbered)
    for path in (root / "cat").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="all of class 'cat' are unreadable"):
        load_data(str(root), skip_unreadable=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission_are_unreadable(tmp_path):
    root = make(tmp_path / "photos", numbered)
    (root / "cat" / "0.png").chmod(0)
    with pytest.raises(InputError, match=r"0.png is not \(no permission to read it\)"):
        load_data(str(root))


def test_images_of_too_many_pixels_are_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    root = make(tmp_path / "photos", numbered)  # 64 pixels
    assert len(load_data(str(root)).train) > 0
    Image.new("RGB", (16, 8)).save(root / "cat" / "poster.png")  # Pillow alone would only warn
    with pytest.raises(
        InputError, match=r"poster.png is not \(more than 0 million pixels: save it smaller\)"
    ):
        load_data(str(root), image_size=8)


# --- preprocessing --------------------------------------------------------------------------------------


def test_preprocessing_is_what_batches_are_made_of(tmp_path):
    root = make(tmp_path / "photos", lambda k: smooth(40 + k, 50))
    data = load_data(str(root), image_size=16)
    path = root / "cat" / "3.png"
    (tensor,) = (data.preprocessing(path),)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    raw = torch.from_numpy(np.ascontiguousarray(data.format.read(path))).double() / 255
    mean, std = (torch.tensor(values).double().view(3, 1, 1) for values in (data.mean, data.std))
    assert torch.allclose(tensor[0].double(), (raw - mean) / std, atol=1e-5)
    for same in (str(path), path.read_bytes(), Image.open(path), np.asarray(Image.open(path))):
        assert torch.equal(data.preprocessing(same), tensor)
    assert Preprocessing.from_json(data.preprocessing.to_json()) == data.preprocessing


def test_preprocessing_refuses_what_is_no_image(tmp_path):
    preprocess = load_data("digits").preprocessing
    for wrong in (tmp_path / "nothing.png", b"text", np.zeros((4, 4)), np.zeros(3, np.uint8)):
        with pytest.raises(InputError, match="an image must be readable, but"):
            preprocess(wrong)
    with pytest.raises(InputError, match="preprocessing must be as Secateur writes it"):
        Preprocessing.from_json({"channels": 3})


# --- the command line -----------------------------------------------------------------------------------


def test_the_command_line_says_what_was_made_of_the_images(tmp_path, monkeypatch, capsys):
    root = make(tmp_path / "photos", lambda k: smooth(16 + k, 12))
    damage(root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def call(options: str) -> tuple[int, str, str]:
        line = f"secateur train --data {root} --plan --image-size 8 {options}"
        monkeypatch.setattr("sys.argv", line.split())
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *(" ".join(text.split()) for text in capsys.readouterr())

    look = "--fit pad --background #102030 --normalize imagenet"
    code, _, error = call(look)
    assert (code, "6 of 30 are not: " in error) == (2, True)
    code, said, _ = call(f"{look} --skip-unreadable --augment resized-crop --jitter 0.2")
    assert code == 0
    assert "8x8 (padded); left out: 1 broken link, 6 unreadable" in said
    assert "images are normalised as ImageNet has it: mean 0.485 0.456 0.406" in said
    for wrong in (
        "--fit stretch",
        "--background grey",
        "--normalize caffe",
        "--augment cutout",
        "--jitter 2",
    ):
        code, _, error = call(f"--skip-unreadable {wrong}")
        assert (code, wrong.split()[1] in error) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "photos"]
