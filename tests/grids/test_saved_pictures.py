"""Files of still and moving pictures."""

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.grids.saving import HOLD, save_animation, save_still

RNG = np.random.default_rng(0)
GREY = [Image.fromarray(RNG.integers(0, 256, (20, 30, 1), np.uint8).repeat(3, 2)) for _ in range(5)]
COLOUR = [Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(5)]


def frames_of(path):
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            yield np.asarray(file.convert("RGB")), file.info["duration"]


@pytest.mark.parametrize(("name", "frames"), [("a.png", GREY), ("a.png", COLOUR), ("a.gif", GREY)])
def test_frames_are_kept_pixel_by_pixel_and_the_last_is_held(tmp_path, name, frames):
    save_animation(tmp_path / name, frames)
    found = list(frames_of(tmp_path / name))
    for (pixels, _), frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(frame))
    assert [duration for _, duration in found] == [250] * 4 + [HOLD]
    with Image.open(tmp_path / name) as file:
        assert file.info["loop"] == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_colours_of_a_gif_are_near_and_white_stays_white(tmp_path):
    y, x = np.mgrid[0:64, 0:64]
    smooth = np.stack([4 * x, 4 * y, 2 * (x + y)], -1).astype(np.uint8)
    smooth[:8] = 255
    save_animation(tmp_path / "a.gif", [Image.fromarray(smooth), Image.fromarray(255 - smooth)])
    (first, _), _ = frames_of(tmp_path / "a.gif")
    assert np.abs(first.astype(int) - smooth).mean() < 8
    assert (first[:6] >= 250).all()


def test_many_frames_are_shown_faster(tmp_path):
    save_animation(tmp_path / "a.gif", [Image.new("L", (4, 4), n).convert("RGB") for n in range(61)])
    assert [duration for _, duration in frames_of(tmp_path / "a.gif")] == [50] * 60 + [HOLD]


def test_an_error_leaves_nothing(tmp_path):
    class Broken(list):
        def __getitem__(self, number):
            return super().__getitem__(number) if number < 3 else 1 / 0

    for name in ("a.png", "a.gif"):
        with pytest.raises(ZeroDivisionError):
            save_animation(tmp_path / name, Broken(GREY))
    assert list(tmp_path.iterdir()) == []


def test_a_still(tmp_path):
    save_still(tmp_path / "a.png", COLOUR[0])
    with Image.open(tmp_path / "a.png") as file:
        np.testing.assert_array_equal(np.asarray(file), np.asarray(COLOUR[0]))
