"""Rounding, .npz files and folders."""

import contextlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dit_toolkit.datasets.fashion import Fashion
from dit_toolkit.errors import DataError, StorageError
from dit_toolkit.images import NpzWriter, read_folder, read_npz, to_uint8

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 8, 6, 3), np.uint8)


def write(path, images=IMAGES):
    with NpzWriter(path, len(images), images.shape[1:]) as writer:
        for part in np.array_split(images, 3):
            writer.write(part)
    return path


class TestToUint8:
    def test_known_values_are_truncated_and_clamped(self):
        x = np.array([-2, -1, -0.5, 0, 0.999, 1, 2], np.float32).reshape(1, 1, 1, 7)
        assert to_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 64, 128, 255, 255, 255]

    def test_real_images_come_back_exactly(self):
        split = Fashion().open("val")
        x, _ = split.batch(np.arange(len(split)))
        images = to_uint8(x)
        assert images.shape == (1_500, 32, 32, 3)
        for channel in range(3):
            np.testing.assert_array_equal(images[..., channel], split.images)

    def test_colour_moves_to_the_end(self):
        x = torch.linspace(-1, 1, 3).view(1, 3, 1, 1).expand(2, 3, 4, 5)
        images = to_uint8(x)
        assert images.shape == (2, 4, 5, 3)
        assert images[1, 3, 4].tolist() == [0, 128, 255]

    def test_nan_is_counted(self):
        x = np.zeros((3, 1, 2, 2), np.float32)
        x[1, 0, 0, 0] = np.nan
        with pytest.raises(DataError, match="1 of 3 images hold NaN"):
            to_uint8(x)

    @pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, 8, 8), (2, 8, 8, 3)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match="images must be"):
            to_uint8(np.zeros(shape))


class TestNpzWriter:
    def test_numpy_reads_one_array(self, tmp_path):
        with np.load(write(tmp_path / "a.npz"), allow_pickle=False) as archive:
            assert archive.files == ["arr_0"]
            np.testing.assert_array_equal(archive["arr_0"], IMAGES)
        assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]

    def test_equal_images_give_equal_files(self, tmp_path):
        assert write(tmp_path / "a.npz").read_bytes() == write(tmp_path / "b.npz").read_bytes()

    def test_too_few_images_leave_nothing(self, tmp_path):
        writer = NpzWriter(tmp_path / "a.npz", 8, (8, 6, 3))
        writer.write(IMAGES)
        with pytest.raises(DataError, match="7 images were written, 8 were promised"):
            writer.close()
        assert list(tmp_path.iterdir()) == []

    def test_too_many_images_leave_nothing(self, tmp_path):
        with (
            pytest.raises(DataError, match="7 images for a file of 6"),
            NpzWriter(tmp_path / "a.npz", 6, (8, 6, 3)) as w,
        ):
            w.write(IMAGES)
        assert list(tmp_path.iterdir()) == []

    def test_an_error_inside_leaves_nothing(self, tmp_path):
        def interrupted():
            with NpzWriter(tmp_path / "a.npz", 14, (8, 6, 3)) as writer:
                writer.write(IMAGES)
                assert not (tmp_path / "a.npz").exists()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert list(tmp_path.iterdir()) == []

    def test_existing_file_is_kept(self, tmp_path):
        path = tmp_path / "a.npz"
        path.write_text("precious")
        with pytest.raises(DataError, match="exists already"):
            write(path)
        assert path.read_text() == "precious"

    def test_file_that_appeared_meanwhile_is_kept(self, tmp_path):
        path = tmp_path / "a.npz"
        writer = NpzWriter(path, 7, (8, 6, 3))
        writer.write(IMAGES)
        path.write_text("precious")
        with pytest.raises(DataError, match="exists already"):
            writer.close()
        assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]

    def test_wrong_shape_or_type(self, tmp_path):
        with (
            pytest.raises(ValueError, match=r"expected uint8 \(N, 8, 6, 3\)"),
            NpzWriter(tmp_path / "a", 7, (8, 6, 3)) as w,
        ):
            w.write(IMAGES.astype(np.float32))

    def test_missing_folder(self, tmp_path):
        with pytest.raises(StorageError, match=r"nowhere.*cannot be written"):
            NpzWriter(tmp_path / "nowhere" / "a.npz", 1, (8, 6, 3))


class TestReadNpz:
    def test_what_the_writer_wrote(self, tmp_path):
        np.testing.assert_array_equal(read_npz(write(tmp_path / "a.npz")), IMAGES)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_what_numpy_wrote_beside_statistics(self, tmp_path, save, order):
        save(tmp_path / "a.npz", arr_0=np.asarray(IMAGES, order=order), mu=np.zeros(3))
        np.testing.assert_array_equal(read_npz(tmp_path / "a.npz"), IMAGES)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": IMAGES}, "holds no array arr_0; it holds images.npy"),
            ({"arr_0": IMAGES.astype(np.float32)}, r"arr_0 is float32 \(7, 8, 6, 3\); expected uint8"),
            ({"arr_0": IMAGES[..., 0]}, r"arr_0 is uint8 \(7, 8, 6\); expected"),
            ({"arr_0": IMAGES.transpose(0, 3, 1, 2)}, r"\(7, 3, 8, 6\); expected"),
            ({"arr_0": IMAGES[:0]}, r"\(0, 8, 6, 3\); expected"),
            ({"arr_0": np.array([{}, {}], object)}, "pickled objects, which are never loaded"),
        ],
    )
    def test_other_content_is_refused(self, tmp_path, arrays, message):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=message):
            read_npz(tmp_path / "a.npz")

    def test_no_npz_at_all(self, tmp_path):
        np.save(tmp_path / "a.npy", IMAGES)
        (tmp_path / "b.npz").write_bytes(pickle.dumps(IMAGES))
        for name, message in (("a.npy", "not an .npz file"), ("b.npz", "not an .npz file"), ("c.npz", "no such file")):
            with pytest.raises(DataError, match=f"{name}: {message}"):
                read_npz(tmp_path / name)
        with pytest.raises(DataError, match="cannot be read"):
            read_npz(tmp_path)

    def test_header_that_promises_too_much(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("arr_0.npy", "w") as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (8, 8, 6, 3)}
            np.lib.format.write_array_header_1_0(member, header)
            member.write(IMAGES.data)
        with pytest.raises(DataError, match="damaged"):
            read_npz(tmp_path / "a.npz")

    @settings(max_examples=300, deadline=None)
    @given(data=st.data())
    def test_any_damage_is_a_data_error(self, data, tmp_path_factory):
        folder = tmp_path_factory.mktemp("damage")
        intact = write(folder / "a.npz").read_bytes()
        damaged = bytearray(intact)
        if data.draw(st.booleans()):
            damaged = damaged[: data.draw(st.integers(0, len(intact) - 1))]
        else:
            damaged[data.draw(st.integers(0, len(intact) - 1))] ^= data.draw(st.integers(1, 255))
        (folder / "b.npz").write_bytes(damaged)
        with contextlib.suppress(DataError):
            # Some bytes, such as the time stamp, carry no pixels.
            np.testing.assert_array_equal(read_npz(folder / "b.npz"), IMAGES)


class TestReadFolder:
    def test_pngs_in_the_order_of_their_names(self, tmp_path):
        for index in (2, 0, 1):
            Image.fromarray(IMAGES[index]).save(tmp_path / f"{index:06}.png")
        (tmp_path / "notes.txt").write_text("not an image")
        np.testing.assert_array_equal(read_folder(tmp_path), IMAGES[:3])
        np.testing.assert_array_equal(read_folder(tmp_path, 2), IMAGES[:2])

    def test_grey_is_repeated(self, tmp_path):
        Image.fromarray(IMAGES[0, ..., 0]).save(tmp_path / "a.PNG")
        np.testing.assert_array_equal(read_folder(tmp_path)[0], IMAGES[0, ..., :1].repeat(3, 2))

    def test_sizes_must_agree(self, tmp_path):
        Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
        Image.fromarray(IMAGES[1, :4]).save(tmp_path / "b.png")
        Image.fromarray(IMAGES[1, :, :5]).save(tmp_path / "c.png")
        with pytest.raises(DataError, match=r"a\.png has 6 x 8 pixels, but b\.png 6 x 4, c\.png 5 x 8"):
            read_folder(tmp_path)

    def test_nothing_or_damaged(self, tmp_path):
        with pytest.raises(DataError, match="holds no"):
            read_folder(tmp_path)
        with pytest.raises(DataError, match="no such folder"):
            read_folder(tmp_path / "none")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
        with pytest.raises(DataError, match=r"a\.png: not a readable image"):
            read_folder(tmp_path)
