"""Hold the result of recipes/fashion.toml against what it promises."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
[path] = folder.glob("samples/*/evaluation.json")
scores = json.loads(path.read_text())["scores"]
values = {name: score["value"] for name, score in scores.items()}
print(values)
if values["class-accuracy"] < 0.85:
    sys.exit("fewer than 85 % of the samples show the class asked for")
if values["memorisation"] < 0.8:
    sys.exit("the samples are copies of training images")
for picture in [folder / "report.html", path.with_name("grid.png")]:
    if picture.stat().st_size < 10_000:
        sys.exit(f"{picture} is empty")
