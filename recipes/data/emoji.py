"""Makes an image folder of emoji, a class for each category, of the npm package emoji-datasource-google.

    npm pack emoji-datasource-google
    python recipes/data/emoji.py emoji-datasource-google-*.tgz data/emoji

The pictures are Google's Noto Emoji, 64 x 64 pixels (Apache-2.0); the list of categories is MIT. Nothing but the Python
standard library is needed, and nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
from pathlib import Path
from typing import IO

LIST = "package/emoji.json"
PICTURES = "package/img/google/64"
LEFT_OUT = {"Component"}
"""Skin tones by themselves."""


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="the package as `npm pack` downloads it")
    parser.add_argument("out", type=Path, help="folder to make")
    arguments = parser.parse_args()
    try:
        counts = make(arguments.archive, arguments.out)
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        sys.exit(f"error: {arguments.archive}: {error}")
    for name, count in counts.items():
        print(f"{count:5} {name}")


def make(archive: Path, out: Path) -> dict[str, int]:
    """Write `out/CLASS/CODEPOINTS.png` and `out/classes.json`; returns how many pictures each class has."""
    out.mkdir(parents=True)
    counts: dict[str, int] = {}
    with tarfile.open(archive) as package:
        for emoji in json.load(_open(package, LIST)):
            if emoji["has_img_google"] and emoji["category"] not in LEFT_OUT:
                counts[emoji["category"]] = counts.get(emoji["category"], 0) + 1
                folder = out / slug(emoji["category"])
                folder.mkdir(exist_ok=True)
                picture = _open(package, f"{PICTURES}/{emoji['image']}").read()
                (folder / Path(emoji["image"]).name).write_bytes(picture)
    (out / "classes.json").write_text(json.dumps({slug(name): name for name in counts}, indent=1))
    return dict(sorted(counts.items()))


def slug(name: str) -> str:
    """`People & Body` as the name of a folder: people-body."""
    return re.sub(r"[^a-z]+", "-", name.lower()).strip("-")


def _open(package: tarfile.TarFile, name: str) -> IO[bytes]:
    file = package.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    return file


if __name__ == "__main__":
    main()
