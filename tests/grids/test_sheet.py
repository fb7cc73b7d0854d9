"""Where images and texts are in a sheet, and their pixels."""

import numpy as np
import pytest

from dit_toolkit.datasets.fashion import CLASS_NAMES, Fashion
from dit_toolkit.errors import DataError
from dit_toolkit.grids.sheet import Head, Layout, Sheet, by_class, grid, spread
from dit_toolkit.grids.text import cut, font_for, width, wrap
from dit_toolkit.images import to_uint8

RNG = np.random.default_rng(0)


def test_geometry_and_pixels():
    split = Fashion().open("val")
    images, _ = to_uint8(split.batch(np.arange(300))[0]), split.labels
    picture = np.asarray(grid(images, split.labels[:300], CLASS_NAMES, nrow=4))
    cell, gap, margin = 96, 2, 12
    assert picture.shape[0] == 10 * (cell + gap) - gap + 2 * margin
    left = picture.shape[1] - margin - (4 * (cell + gap) - gap)
    for row in range(10):
        for column, index in enumerate(np.flatnonzero(split.labels[:300] == row)[:4]):
            top, side = margin + row * (cell + gap), left + column * (cell + gap)
            tile = picture[top : top + cell, side : side + cell]
            np.testing.assert_array_equal(tile, images[index].repeat(3, 0).repeat(3, 1))


def test_only_classes_that_are_present():
    images = np.zeros((3, 32, 32, 3), np.uint8)
    picture = grid(images, np.array([5, 2, 5]), CLASS_NAMES, nrow=10)
    assert picture.height == 2 * (96 + 2) - 2 + 24
    assert picture.width < 350  # two columns, not ten
    assert np.asarray(picture)[20, -20].tolist() == [255, 255, 255]  # class 2 has no second sample


def test_names_are_drawn():
    images = np.full((1, 64, 64, 3), 255, np.uint8)
    dark = [(np.asarray(grid(images, np.zeros(1, int), [name])) < 128).sum() for name in ("", "Trouser")]
    assert dark[0] == 0 < dark[1]


@pytest.mark.parametrize(("classes", "size"), [(1, 1), (1, 256), (1_000, 32), (1_000, 256)])
def test_any_number_of_classes_can_be_opened(classes, size):
    images = np.zeros((classes, size, size, 3), np.uint8)
    picture = grid(images, np.arange(classes), [f"class {c}" for c in range(classes)], nrow=2)
    assert picture.height < 32_768


def tile(sheet, picture, row, column):
    left, top = sheet.corner(row, column)
    return np.asarray(picture)[top : top + sheet.cell[0], left : left + sheet.cell[1]]


def test_more_images_of_a_class_than_a_row_holds_go_on_below():
    labels = np.array([4, 1, 4, 4, 1, 4, 4])
    layout = by_class(labels, list("abcde"), 2, 5)
    assert layout.places.tolist() == [[1, 4], [0, 2], [3, 5], [6, -1]]
    assert list(layout.names) == ["b", "e", "", ""]
    assert by_class(labels, list("abcde"), 2).places.tolist() == [[1, 4], [0, 2]]


@pytest.mark.parametrize(
    ("size", "image_size", "cell"),
    [
        ((32, 32), None, (96, 96)),
        ((28, 28), None, (84, 84)),
        ((256, 256), None, (256, 256)),
        ((20, 40), None, (40, 80)),
        ((20, 40), 100, (50, 100)),
        ((256, 128), 64, (64, 32)),
    ],
)
def test_sizes_of_images(size, image_size, cell):
    images = RNG.integers(0, 256, (4, *size, 3), np.uint8)
    sheet = Sheet(by_class(np.array([0, 1, 0, 1]), ["a", "b"], 2), size, image_size)
    assert sheet.cell == cell
    picture = sheet.draw(images)
    assert picture.size == (sheet.width, sheet.height)
    if all(new % old == 0 for new, old in zip(cell, size, strict=True)):
        factor = cell[0] // size[0]
        np.testing.assert_array_equal(tile(sheet, picture, 1, 0), images[1].repeat(factor, 0).repeat(factor, 1))


def test_heads_are_above_their_columns_and_columns_of_a_head_apart():
    places = np.arange(4).reshape(1, 4)
    heads = [Head("left", 2), Head("right", 2)]
    sheet = Sheet(Layout(places=places, names=[""], heads=heads), (96, 96))
    black = np.asarray(sheet.draw(np.zeros((4, 96, 96, 3), np.uint8)))
    gaps = [b - a - 96 for a, b in zip(sheet.left, sheet.left[1:], strict=False)]
    assert gaps == [2, 12, 2]
    dark = np.flatnonzero((black[: sheet.top] < 128).any(axis=(0, 2)))  # columns of pixels with ink
    middle = (sheet.left[1] + 96 + sheet.left[2]) / 2
    for part, centre in ((dark[dark < middle], sheet.left[1] - 1), (dark[dark > middle], sheet.left[3] - 1)):
        assert abs((part.min() + part.max()) / 2 - centre) < 3
    assert (black[-12:] == 255).all()
    assert (black[:8] == 255).all()


def test_texts_do_not_reach_images_or_edges():
    name = "a name of a class that is really very long, so long that it can only be cut somewhere"
    images = np.full((6, 32, 32, 3), 255, np.uint8)
    layout = by_class(np.arange(6) % 3, [name, "b", name], 2)
    heads = [Head(name, 1), Head("Incomprehensibilities", 1)]
    sheet = Sheet(Layout(places=layout.places, names=layout.names, heads=heads), (32, 32), 40)
    pixels = np.asarray(sheet.draw(images))
    assert (pixels[:4] == 255).all()
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, -4:] == 255).all()
    assert (pixels[sheet.top :, sheet.left[0] - 4 :] == 255).all()
    assert (pixels[sheet.top - 3 : sheet.top] == 255).all()


def test_many_rows_are_folded_into_blocks_with_every_image():
    images = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1).repeat(8, 1).repeat(8, 2).repeat(3, 3)
    layout = by_class(np.arange(100), [f"class {c}" for c in range(100)], 1)
    sheet = Sheet(layout, (8, 8))
    picture = sheet.draw(images)
    assert 0.5 < picture.width / picture.height < 2
    for row in range(100):
        assert (tile(sheet, picture, row, 0) == row).all()


def test_a_picture_that_no_program_opens_is_refused():
    layout = by_class(np.zeros(400, int), ["a"], 100, 400)
    with pytest.raises(DataError, match=r"the picture would have .* show fewer images, or smaller ones"):
        Sheet(layout, (64, 64), 512)


def test_wrapped_and_cut_texts_fit():
    font = font_for(96)
    for text in ("tench, Tinca tinca", "Incomprehensibilities", "a b c d e f g h i j k l m n o p", "x" * 60):
        lines = wrap(text, font, 60, 3)
        assert 1 <= len(lines) <= 3
        assert all(width(line, font) <= 60 for line in lines)
    assert wrap("tench, Tinca tinca", font, 1000, 3) == ["tench, Tinca tinca"]
    assert wrap("", font, 100, 3) == []
    assert cut("short", font, 100) == "short"
    assert cut("Incomprehensibilities", font, 60).endswith("...")


def test_spread():
    assert spread(np.arange(1000), 10).tolist() == list(range(0, 1000, 100))
    assert spread(np.array([7, 2]), 10).tolist() == [7, 2]
