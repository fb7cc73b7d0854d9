"""ImageNet from archives of the same structure as the official ones, and from archives that are wrong."""

import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dit_toolkit import stop
from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.errors import DataError, Interrupted, StorageError
from dit_toolkit.imagenet import archives
from dit_toolkit.imagenet.archives import Archive
from dit_toolkit.imagenet.devkit import GROUND_TRUTH, META, read_devkit
from dit_toolkit.imagenet.prepare import adopt, prepare
from tests.data import image

WNIDS = ("n02000000", "n01000000", "n03000000")
"""In the kit's own order, which is not the sorted one."""
WORDS = ("great grey owl, great gray owl", "tench", "ox")
TRUTH = (1, 3, 2, 1)
NAMES = {part: archive.name for part, archive in archives.PUBLISHED.items()}


def jpeg(seed):
    file = io.BytesIO()
    image(seed).save(file, "JPEG")
    return file.getvalue()


def tar(files, mode="w"):
    """An archive of (name, bytes or TarInfo) pairs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = 0 if isinstance(data, tarfile.TarInfo) else len(data)
            archive.addfile(info, None if isinstance(data, tarfile.TarInfo) else io.BytesIO(data))
    return out.getvalue()


def train_files():
    return {
        f"{wnid}.tar": [(f"{wnid}_{index}.JPEG", jpeg(10 * number + index)) for index in range(3)]
        for number, wnid in enumerate(WNIDS)
    }


def val_files():
    order = (3, 1, 4, 2)  # an archive need not be sorted
    return [(f"ILSVRC2012_val_{index:08}.JPEG", jpeg(100 + index)) for index in order]


def kit():
    """The devkit: three classes, and one synset that has children and is none."""
    rows = [(n + 1, wnid, words, "gloss", 0, 0, 0, 0) for n, (wnid, words) in enumerate(zip(WNIDS, WORDS, strict=True))]
    rows.append((4, "n09000000", "animal", "gloss", 2, 0, 0, 0))
    kind = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "f8")]
    kind += [("children", "f8"), ("wordnet_height", "f8"), ("num_train_images", "f8")]
    mat = io.BytesIO()
    savemat(mat, {"synsets": np.array(rows, dtype=kind)})
    return [(META, mat.getvalue()), (GROUND_TRUTH, "".join(f"{number}\n" for number in TRUTH).encode())]


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Put archives into a folder, and their sums into the table: publish(train=..., val=..., devkit=...)."""
    folder = tmp_path / "archives"

    def publish(**parts):
        built = {
            "train": lambda: tar([(name, tar(files)) for name, files in train_files().items()]),
            "val": lambda: tar(val_files()),
            "devkit": lambda: tar(kit(), "w:gz"),
        }
        folder.mkdir(exist_ok=True)
        table = {}
        for part, build in built.items():
            data = parts[part] if part in parts else build()
            (folder / NAMES[part]).write_bytes(data)
            table[part] = Archive(NAMES[part], hashlib.md5(data).hexdigest(), len(data))
        monkeypatch.setattr(archives, "PUBLISHED", table)
        return folder

    return publish


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_every_image_is_in_the_folder_of_its_class(tmp_path, publish):
    prepare(publish(), tmp_path / "out")
    found = files(tmp_path / "out")
    for name, images in train_files().items():
        for image_name, data in images:
            assert found.pop(f"train/{name.removesuffix('.tar')}/{image_name}") == data
    for name, data in val_files():
        wnid = WNIDS[TRUTH[int(name[-9:-5]) - 1] - 1]
        assert found.pop(f"val/{wnid}/{name}") == data
    assert sorted(found) == ["classes.json", "meta.bin"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archives", "out"]


def test_names_and_order_of_the_classes(tmp_path, publish):
    prepare(publish(), tmp_path / "out")
    dataset = ImageFolder(path=str(tmp_path / "out"), image_size=16, num_classes=3)
    assert dataset.class_names == ("tench", "great grey owl, great gray owl", "ox")
    assert dataset.open("val").labels.tolist() == [0, 1, 1, 2]
    assert json.loads((tmp_path / "out/classes.json").read_text())["n03000000"] == "ox"


def test_meta_bin_is_what_torchvision_reads_and_writes(tmp_path, publish):
    from torchvision.datasets.imagenet import load_meta_file, parse_devkit_archive

    def extract(source, to):
        with tarfile.open(source) as archive:
            archive.extractall(to, filter="data")

    folder = publish()
    prepare(folder, tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        sums = archives.PUBLISHED
        table = {part: (archive.name, archive.md5) for part, archive in sums.items()}
        patch.setattr("torchvision.datasets.imagenet.ARCHIVE_META", table)
        patch.setattr("torchvision.datasets.imagenet.extract_archive", extract)
        parse_devkit_archive(folder)
    assert load_meta_file(tmp_path / "out") == load_meta_file(folder)
    classes, val = torch.load(tmp_path / "out/meta.bin", weights_only=True)
    assert classes["n02000000"] == ("great grey owl", "great gray owl")
    assert val == [WNIDS[number - 1] for number in TRUTH]


@pytest.mark.parametrize("at", [2, 11])
def test_a_killed_command_goes_on_to_the_same_folder(tmp_path, publish, at):
    folder = publish()
    code = f"""
    import os, signal
    from pathlib import Path
    from dit_toolkit.imagenet import archives, extract, prepare
    archives.PUBLISHED = {{part: archives.Archive(*fields) for part, fields in {
        {part: (archive.name, archive.md5, archive.size) for part, archive in archives.PUBLISHED.items()}
    }.items()}}
    replace, count = Path.replace, 0
    def killed(self, target):
        global count
        count += self.suffix == ".tmp"
        if count == {at}:
            self.write_bytes(self.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    Path.replace = killed
    prepare.prepare(Path({str(folder)!r}), Path({str(tmp_path / "out")!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "out").exists()
    prepare(folder, tmp_path / "out")
    prepare(folder, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_signal_stops_it_and_what_is_there_is_not_read_again(tmp_path, publish, monkeypatch, capsys):
    folder, calls = publish(), []
    monkeypatch.setattr(stop, "requested", lambda: calls.append(1) or ("SIGTERM" if len(calls) > 4 else None))
    with pytest.raises(Interrupted, match="stopped by SIGTERM; the same command goes on"):
        prepare(folder, tmp_path / "out")
    assert "verify" in capsys.readouterr().err
    monkeypatch.setattr(stop, "requested", lambda: None)
    prepare(folder, tmp_path / "out")
    assert "verify" not in capsys.readouterr().err
    prepare(folder, tmp_path / "out")
    assert "is complete already" in capsys.readouterr().err


def test_an_archive_that_is_not_there_or_of_another_size(tmp_path, publish):
    folder = publish()
    path = folder / NAMES["val"]
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"ILSVRC2012_img_val\.tar: has [\d,]+ bytes instead of [\d,]+; it is cut off"):
        prepare(folder, tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match=r"ILSVRC2012_img_val\.tar: no such file"):
        prepare(folder, tmp_path / "out")


def test_a_flipped_bit_is_found(tmp_path, publish):
    folder = publish()
    path = folder / NAMES["train"]
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"img_train\.tar: its MD5 sum is \w+ instead of \w+; it is damaged"):
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def inner(*entries):
    """The training archive, its first class replaced."""
    rest = list(train_files().items())[1:]
    return tar([(f"{WNIDS[0]}.tar", tar(entries)), *((name, tar(content)) for name, content in rest)])


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return (name, info)


WRONG_TRAIN = [
    (lambda: tar([(n, tar(f)) for n, f in train_files().items()])[:5000], "is cut off"),
    (lambda: tar([(n, tar(f)) for n, f in train_files().items()]).rstrip(b"\0")[: 3 * (512 + 10240)], "is cut off"),
    (lambda: b"", "is cut off or damaged"),
    (lambda: b"no archive" * 1000, "is cut off or damaged"),
    (lambda: tar([(n, tar(f)) for n, f in list(train_files().items())[:2]]), "1 classes are missing: n03000000"),
    (lambda: tar([("n99999999.tar", tar([]))]), "n99999999.tar is not the archive of a class that the kit has"),
    (lambda: tar([("readme.txt", b"x")]), "readme.txt is not the archive of a class"),
    (lambda: tar([(f"{WNIDS[0]}.tar", tar([("a.JPEG", b"x")]))] * 2), "n02000000.tar is there twice"),
    (lambda: inner(), "n02000000.tar: holds no image"),
    (lambda: inner(("../../evil.JPEG", b"x")), "'../../evil.JPEG' would leave the folder"),
    (lambda: inner(("/tmp/evil.JPEG", b"x")), "'/tmp/evil.JPEG' would leave the folder"),
    (lambda: inner(link("a.JPEG", "/etc/passwd", tarfile.SYMTYPE)), "'a.JPEG' is a link or device"),
    (lambda: inner(link("a.JPEG", "b.JPEG", tarfile.LNKTYPE)), "'a.JPEG' is a link or device"),
    (lambda: inner(link("a.JPEG", "", tarfile.CHRTYPE)), "'a.JPEG' is a link or device"),
    (lambda: tar([(f"{WNIDS[0]}.tar", tar(train_files()[f"{WNIDS[0]}.tar"])[:2000])]), "is cut off"),
]


@pytest.mark.parametrize("case", range(len(WRONG_TRAIN)))
def test_training_archives_that_are_wrong_are_named(tmp_path, publish, case):
    build, message = WRONG_TRAIN[case]
    with pytest.raises(DataError) as caught:
        prepare(publish(train=build()), tmp_path / "out")
    assert NAMES["train"] in str(caught.value)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.JPEG").exists()


def test_a_validation_archive_that_lacks_images(tmp_path, publish):
    with pytest.raises(DataError, match=r"img_val\.tar: holds 3 images, but the kit has classes for 4"):
        prepare(publish(val=tar(val_files()[:3])), tmp_path / "out")


WRONG_KIT = [
    (lambda: tar(kit()[:1], "w:gz"), f"holds no {GROUND_TRUTH}"),
    (lambda: tar(kit(), "w:gz")[:200], "is cut off or damaged"),
    (lambda: gzip.compress(b"x" * 2000), "is cut off or damaged"),
    (lambda: tar([(META, b"x" * 500), kit()[1]], "w:gz"), "cannot be read as the kit"),
    (lambda: tar([kit()[0], (GROUND_TRUTH, b"1\n9\n")], "w:gz"), "cannot be read as the kit"),
    (lambda: tar([kit()[0], (GROUND_TRUTH, b"1\nx\n")], "w:gz"), "cannot be read as the kit"),
]


@pytest.mark.parametrize("case", range(len(WRONG_KIT)))
def test_kits_that_are_wrong_are_named(tmp_path, case):
    build, message = WRONG_KIT[case]
    path = tmp_path / NAMES["devkit"]
    path.write_bytes(build())
    with pytest.raises(DataError, match=NAMES["devkit"]) as caught:
        read_devkit(path)
    assert message in str(caught.value)


def test_a_full_disk(tmp_path, publish, monkeypatch):
    def full(self, data):
        raise OSError(28, os.strerror(28))

    folder = publish()
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StorageError, match=r"cannot be written .No space left on device"):
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_something_else_is_left_alone(tmp_path, publish):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    with pytest.raises(DataError, match="exists already and is no prepared folder"):
        prepare(publish(), tmp_path / "out")


@pytest.fixture
def tree(tmp_path, publish):
    prepare(publish(), tmp_path / "tree")
    return tmp_path / "tree"


def test_a_tree_is_linked_to(tmp_path, tree):
    adopt(tree, tmp_path / "out")
    dataset = ImageFolder(path=str(tmp_path / "out"), image_size=16, num_classes=3)
    assert [len(dataset.open(split)) for split in ("train", "val")] == [9, 4]
    assert dataset.class_names == tuple(sorted(WNIDS))


def test_flat_validation_images_are_sorted_by_the_kit(tmp_path, tree):
    for path in list((tree / "val").rglob("*.JPEG")):
        path.rename(tree / "val" / path.name)
    for wnid in WNIDS:
        (tree / "val" / wnid).rmdir()
    with pytest.raises(DataError, match="give the kit's archive with --archives DIR"):
        adopt(tree, tmp_path / "out")
    adopt(tree, tmp_path / "out", tmp_path / "archives" / NAMES["devkit"])
    dataset = ImageFolder(path=str(tmp_path / "out"), image_size=16, num_classes=3)
    assert dataset.open("val").labels.tolist() == [0, 1, 1, 2]
    assert dataset.class_names[0] == "tench"


def test_trees_that_do_not_fit_are_refused(tmp_path, tree):
    kit_path = tmp_path / "archives" / NAMES["devkit"]
    (tree / "train/n05000000").mkdir()
    with pytest.raises(DataError, match="its classes are not those of the kit: n05000000"):
        adopt(tree, tmp_path / "out", kit_path)
    (tree / "train/n05000000").rmdir()
    (tree / "val/n05000000").mkdir()
    with pytest.raises(DataError, match="has classes that train lacks: n05000000"):
        adopt(tree, tmp_path / "out", kit_path)
    with pytest.raises(DataError, match="train: no such folder"):
        adopt(tmp_path, tmp_path / "out")
