"""recipes/data/emoji.py makes the folder that recipes/emoji.toml reads."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from dit_toolkit.datasets.image_folder import ImageFolder
from dit_toolkit.recipe.load import load_recipe
from tests.conftest import ROOT

CATEGORIES = [
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body", "Smileys & Emotion",
    "Symbols", "Travel & Places",
]  # fmt: skip


def entry(image, category, there=True):
    return {"image": image, "category": category, "has_img_google": there}


def package(path, emoji, missing=()):
    """An archive in the layout of the npm package, a transparent picture with a red dot for each emoji."""
    picture = Image.new("RGBA", (64, 64))
    picture.putpixel((32, 32), (255, 0, 0, 255))
    png = io.BytesIO()
    picture.save(png, "PNG")
    files = {"package/emoji.json": json.dumps(emoji).encode()}
    files |= {f"package/img/google/64/{each['image']}": png.getvalue() for each in emoji if each["has_img_google"]}
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            if not name.endswith(tuple(missing) or "/"):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def make(archive, out):
    command = [sys.executable, str(ROOT / "recipes/data/emoji.py"), str(archive), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


EMOJI = [entry(f"{number:x}.png", name) for number, name in enumerate(CATEGORIES * 2)]


def test_the_folder_is_what_the_recipe_reads(tmp_path):
    emoji = [*EMOJI, entry("tone.png", "Component"), entry("none.png", "Flags", there=False)]
    done = make(package(tmp_path / "x.tgz", emoji), tmp_path / "emoji")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"    2 {name}" for name in CATEGORIES]
    changes = [f"dataset.path={tmp_path / 'emoji'}", "dataset.val_fraction=0.5"]
    dataset = load_recipe(ROOT / "recipes/emoji.toml", set=changes).dataset
    assert isinstance(dataset, ImageFolder)
    assert (list(dataset.class_names), dataset.flip) == (CATEGORIES, False)
    split = dataset.open("train")
    assert len(split) + len(dataset.open("val")) == len(EMOJI)
    x, _ = split.batch(np.arange(1))
    assert x.shape == (1, 3, 64, 64)
    assert x[0, :, 0, 0].tolist() == [1, 1, 1]
    assert x[0, :, 32, 32].tolist() == [1, -1, -1]


@pytest.mark.parametrize("missing", ["emoji.json", "3.png"])
def test_an_archive_without_a_file_is_an_error_line(tmp_path, missing):
    done = make(package(tmp_path / "x.tgz", EMOJI, missing=[missing]), tmp_path / "emoji")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'x.tgz'}: ")
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "emoji").mkdir()
    done = make(package(tmp_path / "x.tgz", EMOJI), tmp_path / "emoji")
    assert done.returncode == 1
    assert "exists" in done.stderr
