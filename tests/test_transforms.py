"""Images of every sort become RGB or are refused by name; crops are those of ADM."""

import io

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.errors import DataError
from dit_toolkit.transforms import centre_crop, is_image, random_crop, read_image, to_array
from tests.data import image, png


def adm(picture, size):
    """ADM's preprocessing of a square crop, from its description: halve, resize the short side, crop the middle."""
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    pixels = np.asarray(picture)
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return pixels[top : top + size, left : left + size]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40), (100, 64), (33, 32), (7, 9), (131, 77)])
def test_square_crops_are_those_of_adm(height, width):
    picture = image(0, height, width)
    np.testing.assert_array_equal(np.asarray(centre_crop(picture, 16, 16)), adm(picture, 16))


@pytest.mark.parametrize(("height", "width"), [(16, 24), (24, 16), (1, 1), (50, 3)])
@pytest.mark.parametrize("size", [(20, 24), (64, 64), (200, 31), (1, 1)])
def test_any_size_is_cropped_to_any(height, width, size):
    assert centre_crop(image(0, *size), height, width).size == (width, height)
    assert random_crop(image(0, *size), height, width, (0.99, 0.99, 0.99)).size == (width, height)


def test_a_crop_of_the_same_size_is_the_image():
    picture = image(1, 16, 24)
    assert centre_crop(picture, 16, 24).tobytes() == picture.tobytes()
    assert random_crop(picture, 16, 24, (0.0, 0.9, 0.9)).tobytes() == picture.tobytes()


def test_random_crops_reach_every_edge():
    gradient = Image.fromarray(np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 100, 3)).copy())
    top, bottom = (np.asarray(random_crop(gradient, 50, 50, (0.0, y, 0.5))) for y in (0.0, 0.999))
    np.testing.assert_array_equal(top, bottom)  # the whole image just fits
    top, bottom = (np.asarray(random_crop(gradient, 50, 50, (0.999, y, 0.5))) for y in (0.0, 0.999))
    assert top.min() <= 1
    assert bottom.max() >= 98
    assert top.max() < 85


def test_too_narrow_an_image_is_refused():
    with pytest.raises(ValueError, match="1 x 3000 pixels are too narrow for a crop of 256 x 256"):
        centre_crop(Image.new("RGB", (1, 3000)), 256, 256)


@pytest.mark.parametrize(("channels", "shape"), [(3, (3, 5, 7)), (1, (1, 5, 7))])
def test_pixels_are_channels_first(channels, shape):
    picture = image(2, 5, 7)
    pixels = to_array(picture, channels)
    assert (pixels.shape, pixels.dtype) == (shape, np.uint8)
    expected = np.asarray(picture if channels == 3 else picture.convert("L"))
    np.testing.assert_array_equal(pixels[0], expected[..., 0] if channels == 3 else expected)


@pytest.mark.parametrize(
    ("mode", "name", "colour", "rgb"),
    [
        ("L", "x.png", 100, (100, 100, 100)),
        ("1", "x.png", 1, (255, 255, 255)),
        ("CMYK", "x.jpg", (0, 0, 0, 0), (255, 255, 255)),
        ("P", "x.gif", 0, (0, 0, 0)),
        ("LA", "x.png", (0, 0), (255, 255, 255)),
        ("RGBA", "x.png", (9, 9, 9, 0), (255, 255, 255)),
        ("RGBA", "x.png", (250, 0, 0, 255), (250, 0, 0)),
        ("I;16", "x.png", 65_535, (255, 255, 255)),
        ("I;16", "x.tif", 257 * 100, (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, name, colour, rgb):
    Image.new(mode, (4, 4), colour).save(tmp_path / name)
    picture = read_image(tmp_path / name)
    assert picture.mode == "RGB"
    assert picture.getpixel((1, 1)) == rgb


def encoded(kind, **options):
    file = io.BytesIO()
    image(3, 64, 64).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"text, not pixels", "not a readable image"),
        (encoded("JPEG")[:300], "not a readable image"),
        (encoded("PNG")[:-60], "not a readable image"),
        (png(8, 8), "not a readable image"),
        (png(60_000, 60_000), "not a readable image"),
        (png(11_000, 11_000), r"not a readable image|pixels are more than"),
        (encoded("GIF", save_all=True, append_images=[image(4, 64, 64)]), "an animation of 2 frames"),
        (encoded("PNG", save_all=True, append_images=[image(4, 64, 64)]), "an animation of 2 frames"),
    ],
    ids=["empty", "text", "cut jpeg", "cut png", "no pixels", "bomb", "large", "gif", "apng"],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, data, message):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"broken\.png: .*({message})"):
        read_image(path)


def test_floating_point_and_deeper_pixels_are_refused(tmp_path):
    Image.new("F", (4, 4)).save(tmp_path / "x.tif")
    Image.new("I", (4, 4), 70_000).save(tmp_path / "y.tif")
    for name, message in (("x", "no known range"), ("y", "beyond 16 bits")):
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / f"{name}.tif")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: not a readable image .*No such file"):
        read_image(tmp_path / "gone.png")


def test_files_are_images_by_their_names():
    assert [is_image(name) for name in ("a.jpg", "b.JPEG", "c.png", "d.txt", "e", "jpg")] == [True] * 3 + [False] * 3
