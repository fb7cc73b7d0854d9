"""Two processes of this train every ZeRO stage with and without looks, and say where something differs."""

import hashlib
import json
import sys
from pathlib import Path

from dit_toolkit import distributed, load_recipe
from dit_toolkit.training.drawing import Drawing
from dit_toolkit.training.lockstep import lockstep
from dit_toolkit.training.loop import train
from dit_toolkit.training.pictures import Pictures
from dit_toolkit.validation import validate
from tests.conftest import ROOT, SMALL

LOOKS = [
    *("train.validate_every=2", "train.sample_every=3", "sample.sampler.num_steps=2"),
    *("train.evaluate_every=4", "train.evaluate_samples=9"),
]
SAVED = ("raw.safetensors", "ema.safetensors", "optimizer.safetensors")


def main(folder: Path) -> None:
    distributed.initialise()
    found = {}
    for stage in range(4):
        backend = f"train.backend={{kind='deepspeed',zero_stage={stage}}}"
        common = [*SMALL, backend, "train.micro_batch_size=2", "train.precision=bf16", "train.validate_images=70"]
        for name, extra in (("plain", []), ("watched", LOOKS)):
            (folder / f"{name}-{stage}").mkdir(exist_ok=True)
            recipe = load_recipe(ROOT / "recipes/fashion.toml", set=[*common, *extra])
            train(recipe, folder / f"{name}-{stage}", files={})
        last = folder / f"watched-{stage}"
        rows = (last / "metrics.jsonl").read_text().splitlines()
        found[stage] = {
            "differing": [
                name for name in SAVED if digest(folder, "plain", stage, name) != digest(folder, "watched", stage, name)
            ],
            "in_training": json.loads(rows[-1])["val_loss"],
            "afterwards": validate(recipe, last).as_dict()["losses"]["ema"]["mean"],
        }
    found["passes"] = distributed.gather(passes(3 - 2 * distributed.rank()))
    Pictures(recipe, folder, Drawing(recipe, lambda x, t, y: x / 2, "cpu")).draw(1, "raw")
    if distributed.rank() == 0:
        (folder / "found.json").write_text(json.dumps(found))
    distributed.barrier()


def digest(folder: Path, run: str, stage: int, name: str) -> str:
    return hashlib.sha256((folder / f"{run}-{stage}/checkpoints/step-00000004/{name}").read_bytes()).hexdigest()


def passes(wanted: int) -> list[int]:
    """How many passes this process asked for and how many its network made."""
    import torch

    made = []
    with lockstep(lambda x, t, y: made.append(x.shape), (1, 2, 2), "cpu") as run:
        for _ in range(wanted):
            run(torch.zeros(5, 1, 2, 2), torch.zeros(5), torch.zeros(5))
    return [wanted, len(made)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
