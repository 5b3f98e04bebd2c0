"""Images from strangers: what is read of them, and what is refused before it is decoded."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cells.errors import InputError
from nas.data.pixels import decode, decode_all

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n(%pipe%touch ran) (w) file\n%%EOF\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    """A PNG by its own specification, not by the library that is tested."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + data


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(tmp_path: Path, content: bytes) -> list[list[list[int]]]:
    """Pixels [channel][row][column] of a file called cat.png, whatever it is."""
    (tmp_path / "cat.png").write_bytes(content)
    return decode_all([tmp_path / "cat.png"], None)[0].tolist()


def refusal(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "cat.png").write_bytes(content)
    with pytest.raises(InputError, match=r"cat\.png") as error:
        decode_all([tmp_path / "cat.png"], 8)
    return str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_formats_that_are_read(kind: str, tmp_path: Path) -> None:
    red = Image.new("RGB", (4, 3), (250, 0, 0))
    found = np.array(decoded(tmp_path, written(red, kind)))
    assert found.shape == (3, 3, 4)
    assert np.abs(found - np.array([250, 0, 0])[:, None, None]).max() <= 2  # some are lossy


@pytest.mark.parametrize("kind", ["EPS", "PDF", "PPM", "TGA", "ICO", "PCX", "SGI"])
def test_other_formats_are_not(kind: str, tmp_path: Path) -> None:
    assert "cannot" in refusal(tmp_path, written(Image.new("RGB", (16, 16)), kind))


def test_postscript_is_not_interpreted(tmp_path: Path) -> None:
    assert "none of PNG" in refusal(tmp_path, POSTSCRIPT)


def test_what_shines_through_is_white(tmp_path: Path) -> None:
    # A quarter of red over white: 255 · ¼ + 255 · ¾, and 0 · ¼ + 255 · ¾ = 191.25.
    assert decoded(tmp_path, png(1, 1, 8, 6, bytes([0, 255, 0, 0, 64]))) == [
        [[255]],
        [[191]],
        [[191]],
    ]
    assert decoded(tmp_path, png(1, 1, 8, 4, bytes([0, 40, 0]))) == [[[255]]]  # grey stays grey
    assert decoded(tmp_path, png(1, 1, 8, 4, bytes([0, 40, 255]))) == [[[40]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 9, 9, 7, 7, 7])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        content = written(palette, kind, transparency=0)
        assert decoded(tmp_path, content) == [[[255, 7]]] * 3


def test_images_stand_as_exif_says(tmp_path: Path) -> None:
    image = Image.new("L", (2, 1))
    image.putdata([10, 20])  # 10 on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # its right side is the bottom when it stands: turn it clockwise
    assert decoded(tmp_path, written(image, "PNG", exif=exif)) == [[[10], [20]]]
    exif[0x0112] = 2  # mirrored
    assert decoded(tmp_path, written(image, "PNG", exif=exif)) == [[[20, 10]]]


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_are_refused_not_cut(colour: int, channels: int, tmp_path: Path) -> None:
    content = png(1, 1, 16, colour, bytes([0]) + b"\x80\x01" * channels)
    assert "more than 8 bits per channel: save it with 8" in refusal(tmp_path, content)


def test_sixteen_bits_of_a_tiff_are_refused(tmp_path: Path) -> None:
    for mode in ("I;16", "I", "F"):
        assert "more than 8 bits" in refusal(tmp_path, written(Image.new(mode, (2, 2)), "TIFF"))


def test_of_an_animation_the_first_picture_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 200)
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        content = written(first, kind, save_all=True, append_images=[second])
        assert not np.array(decoded(tmp_path, content)).any()
        said = capsys.readouterr().err
        assert said == "note: 1 of 1 images hold several pictures: the first is read\n"
        decoded(tmp_path, written(first, kind))
        assert not capsys.readouterr().err


def test_that_an_image_shines_through_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for number, alpha in enumerate((255, 254, 0)):
        files.append(tmp_path / f"{number}.png")
        Image.new("RGBA", (2, 2), (9, 9, 9, alpha)).save(files[-1])
    assert decode_all(files, None)[:, 0, 0, 0].tolist() == [9, 10, 255]
    said = capsys.readouterr().err
    assert said == "note: 2 of 3 images are transparent: they lie on white\n"


@pytest.mark.parametrize(
    ("fit", "wanted"),
    [
        ("stretch", [[16, 48, 80, 112]] * 4),  # means of two columns of eight
        ("crop", [[40, 56, 72, 88]] * 4),  # the middle four
        ("pad", [[0] * 4, [16, 48, 80, 112], [16, 48, 80, 112], [0] * 4]),
    ],
)
def test_how_an_image_is_brought_to_a_size(
    fit: str, wanted: list[list[int]], tmp_path: Path
) -> None:
    columns = np.array([8, 24, 40, 56, 72, 88, 104, 120], np.uint8)  # 8 wide, 4 high
    Image.fromarray(np.tile(columns, (4, 1))).save(tmp_path / "wide.png")
    found = decode_all([tmp_path / "wide.png"], 4, fit)[0, 0]
    rows = found[1:3] if fit == "pad" else found
    inner = np.array(wanted)[1:3] if fit == "pad" else np.array(wanted)
    # The resampling filter is wider than two columns where it is not cut by the border.
    assert np.abs(rows.astype(int) - inner).max() <= 4
    assert fit != "pad" or not found[[0, 3]].any()
    assert np.array_equal(decode(tmp_path / "wide.png", 1, 4, 4, fit)[0], found)


def test_the_thinnest_image_is_padded(tmp_path: Path) -> None:
    Image.new("L", (1000, 1), 255).save(tmp_path / "line.png")
    found = decode_all([tmp_path / "line.png"], 5, "pad")[0, 0]
    assert found.sum(axis=1).tolist() == [0, 0, 5 * 255, 0, 0]


def test_many_pixels_in_few_bytes_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    empty = png(9000, 9000, 8, 2, b"")
    assert "81000000 pixels in" in refusal(tmp_path, empty)
    beyond_the_screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + b","
    beyond_the_screen += struct.pack("<HHHHB", 0, 0, 9000, 9000, 0) + b"\x02\x02\x4c\x01\0;"
    assert "81000000 pixels in" in refusal(tmp_path, beyond_the_screen)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, told in (("pipe", "a pipe"), ("folder", "a folder"), ("zero", "a device")):
        with pytest.raises(InputError, match=rf"{name}\.png' is .*{told.split()[1]}"):
            decode_all([tmp_path / f"{name}.png"], None)
