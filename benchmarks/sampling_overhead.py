"""How much of the time of sampling is spent outside the network and the decoder; prints a table.

    python -m benchmarks.sampling_overhead [--model S/2 first] [--batch 16] [--batches 4] [--steps 10]

The whole is one call of `dit_toolkit.sample` in one process: noise, sampler, guidance, conversion to uint8, writing of
parts, packing of the file. Network and decoder are timed inside of it, with the device synchronised after each.
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import attrs
import torch

import dit_toolkit as dit
from dit_toolkit import distributed

COMMON = [
    "dataset={kind='synthetic',latents=false,image_size=32,channels=3,num_classes=10,num_images=64}",
    "model.num_classes=10",
    "train.max_steps=1",
    "train.global_batch_size=4",
    "train.lr_warmup_steps=0",
    "train.precision=fp32",
    "train.backend={kind='single'}",
    "train.validate_every=0",
    "train.sample_every=0",
    "evaluate.metrics=[]",
    "sample.precision=fp32",
]
MODELS = {
    "S/2": [
        "model.hidden_size=384",
        "model.depth=12",
        "model.num_heads=6",
        "model.patchifier.patch_size=2",
    ],
    "first": [],
}
"""Changes to recipes/fashion.toml: the network of DiT-S/2 with 256 tokens, and the recipe's own with 64."""
SAMPLERS = {"euler": "kind='euler'", "heun": "kind='heun'", "ddpm": "kind='ddpm',variance='fixed-small'"}


class Clock:
    """Adds up the seconds of calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call):
        """The same call, timed."""

        def timed(*args):
            began = time.perf_counter()
            result = call(*args)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - began
            return result

        return timed


class Codec:
    """A decoder, timed."""

    def __init__(self, codec, clock: Clock) -> None:
        self.decode = clock.around(codec.decode)


def measure(trained: dit.Trained, folder: Path) -> tuple[float, float]:
    """Seconds of the whole, and of network and decoder in it."""
    trained.sample([0], index=[0])  # Warms up.
    clock = Clock()
    timed = attrs.evolve(trained, model=clock.around(trained.model), codec=Codec(trained.codec, clock))
    began = time.perf_counter()
    dit.sample(timed, folder / "x.npz")
    return time.perf_counter() - began, clock.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    print(
        f"{device}, {torch.get_num_threads()} threads; torch {torch.__version__}; {options.batches} x {options.batch}"
    )
    for name in options.model:
        recipe = dit.load_recipe(Path(__file__).parents[1] / "recipes/fashion.toml", set=[*COMMON, *MODELS[name]])
        with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
            run = dit.train(recipe, out=Path(folder) / "run")
            for sampler, table in SAMPLERS.items():
                settings = [
                    f"sample.num_samples={options.batch * options.batches}",
                    f"sample.batch_size={options.batch}",
                    f"sample.sampler={{{table},num_steps={options.steps}}}",
                ]
                trained = dit.load(run, set=settings, device=distributed.device())
                place = Path(folder) / sampler
                place.mkdir()
                whole, inside = measure(trained, place)
                share = 1 - inside / whole
                print(f"{name:6} {sampler:6} {whole:8.2f} s, network and decoder {inside:8.2f} s, rest {share:6.1%}")


if __name__ == "__main__":
    main()
