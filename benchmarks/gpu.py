"""What a GPU should show first: that it computes what the CPU does, that ZeRO goes on bit for bit; then speed.

    python -m benchmarks.gpu [--size XL] [--micro-batch 16 32 64] [--steps 10] [--only agreement zero speed latency]

1. agreement: output and gradient of every block, all samplers and objectives, in float32 and bf16, against float64;
2. zero: for backend `single` and, where DeepSpeed is installed, ZeRO 0 to 3 in bf16, training of four steps and of two
   and two more must leave the same weights, averages and optimizer state, to the bit;
3. speed: training of DiT-SIZE/2 in bf16 with its averages: images/s, share of what a matrix product reaches here, peak
   memory, with blocks compiled and not;
4. latency: 50 guided steps of `ddim`, seconds an image.

Prints Markdown and ends with status 1 where something does not agree. Without a GPU all of it runs on the CPU, where
`--size S --micro-batch 2 --steps 1` takes some minutes.
"""

import argparse
import gc
import json
import sys
import tempfile
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from attrs import evolve

import dit_toolkit as dit
from benchmarks.backends import Training
from benchmarks.flops.machine import describe
from benchmarks.flops.measure import PRODUCT, seconds
from benchmarks.flops.memory import peak_memory, reset_peak
from dit_toolkit import checkpoint, distributed
from dit_toolkit.backends.deepspeed import DeepSpeed
from dit_toolkit.backends.single import Single
from dit_toolkit.build import build_model
from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.flops import costs_of
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.edm import EDM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.recipe.sizes import sizes
from dit_toolkit.registry import Registry
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.sampling import Trained
from dit_toolkit.testing.inputs import randomise

RECIPES = Path(__file__).parents[1] / "recipes"
SMALL = ["model.depth=2", "model.hidden_size=64", "model.num_heads=4", "model.num_classes=10"]
BLOCKS = ("adaln-zero", "adaln", "in-context", "cross-attention")
BOUNDS = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest relative difference to float64."""
INSTALLED = find_spec("deepspeed") is not None
FAULTS = []


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


def relative(found, right):
    return float((found.detach().double().cpu() - right).norm() / right.norm())


def synthetic(name, classes, *changes):
    """A shipped recipe on synthetic latents of 32 x 32."""
    dataset = f"dataset={{kind='synthetic',num_classes={classes}}}"
    return dit.load_recipe(RECIPES / f"{name}2.toml", set=[dataset, *changes])


def small(*changes):
    """A DiT with two small blocks."""
    return synthetic("b", 10, *SMALL, *changes)


def gradient(model, x, t, y):
    """Output, and all gradients of its mean square as one vector."""
    output = model(x, t, y)
    output.square().mean(dtype=torch.promote_types(output.dtype, torch.float32)).backward()
    return output, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def agreement(device):
    """Every block, sampler and objective against float64 on the CPU."""
    print("\n## Agreement with float64 on the CPU, relative\n")
    head("what", "float32", "bfloat16", "float32, gradient", "bfloat16, gradient")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for block in BLOCKS:
        recipe = small(f"model.block.kind={block}")
        state = {name: 0.1 * value for name, value in randomise(build_model(recipe)).state_dict().items()}
        x, t, y = torch.randn(4, 4, 32, 32), torch.tensor([3.0, 250.0, 700.0, 999.0]), torch.tensor([0, 3, 9, 10])
        results = {}
        for dtype, where in ((torch.float64, "cpu"), (torch.float32, device), (torch.bfloat16, device)):
            model = build_model(recipe)
            model.load_state_dict(state)
            results[dtype] = gradient(model.to(where, dtype), x.to(where, dtype), t.to(where), y.to(where))
        exact = [each.detach() for each in results.pop(torch.float64)]
        apart = [relative(found[i], exact[i]) for i in (0, 1) for found in results.values()]
        judged(f"`{block}`", apart, [*BOUNDS.values()] * 2)
    for objective in (DDPM(), FlowMatching(), EDM()):
        for kind in Registry(discover=False).kinds("samplers"):
            drawn(kind, objective, device)


def drawn(kind, objective, device):
    """Samples and loss of one pair, on the CPU in float64 and on the device."""
    sampler = Registry(discover=False).resolve("samplers", kind)()
    if sampler.num_steps is not None:
        sampler = evolve(sampler, num_steps=8)
    try:
        sampler.check(objective)
    except ValueError:
        return
    index = range(4)

    def network(x, t, y):
        scale = 0.3 + 0.1 * torch.sin(t / 100 + y).to(x.dtype)[:, None, None, None]
        return torch.cat([scale * x, x.tanh()][: objective.out_channels(4) // 4], 1)

    found = {}
    for dtype, where in ((torch.float64, "cpu"), (torch.float32, device)):
        generator = Generator(0, "gpu", index, where)
        noise = objective.schedule.start(generator.randn(4, 16, 16).to(dtype))
        labels = torch.arange(4, device=where)
        x = sampler.sample(LabelledDenoiser(network, objective, labels), noise, generator=generator)
        x0 = torch.linspace(-1, 1, noise.numel(), dtype=dtype, device=where).view_as(noise)
        loss = objective.loss(network, x0, labels, generator=Generator(1, "gpu", index, where))
        found[dtype] = x, loss
    (x, loss), (x_here, loss_here) = found[torch.float64], found[torch.float32]
    apart = [relative(x_here, x), relative(loss_here, loss)]
    judged(f"`{kind}`, `{objective.kind}`: samples, loss", apart, [1e-3, 1e-4])


def judged(what, apart, bounds):
    row(what, *(f"{value:.1e}" for value in apart), *[""] * (4 - len(apart)))
    if not all(value <= bound for value, bound in zip(apart, bounds, strict=True)):
        FAULTS.append(f"{what} differs by {apart}, allowed {bounds}")


def zero():
    """Four steps at once, and two and two, with every backend."""
    print("\n## Going on, bf16\n")
    head("backend", "weights, average and optimizer after 4 steps and 2 + 2")
    for name in ("single", 0, 1, 2, 3) if INSTALLED else ("single",):
        backend = "{kind='single'}" if name == "single" else f"{{kind='deepspeed',zero_stage={name}}}"
        with tempfile.TemporaryDirectory() as folder:
            digests = []
            for run, lengths in (("whole", [4]), ("half", [2, 4])):
                for length in lengths:
                    changes = [f"train.backend={backend}", f"train.max_steps={length}", "train.precision=bf16"]
                    changes += ["train.global_batch_size=8", "train.validate_every=0", "train.sample_every=0"]
                    path = dit.train(small(*changes), out=f"{folder}/{run}")
                files = checkpoint.read_manifest(checkpoint.newest(path / "checkpoints"))["files"]
                digests.append({file: digest for file, (_, digest) in files.items() if file.endswith(".safetensors")})
        same = digests[0] == digests[1]
        row(name if name == "single" else f"ZeRO {name}", f"equal, {len(digests[0])} files" if same else "**differ**")
        if not same:
            FAULTS.append(f"backend {name} does not go on bit for bit")


def model_recipe(size, *changes):
    return synthetic(size.lower(), 1000, "train.precision=bf16", *changes)


def speed(size, micro_batches, steps, device):
    """Training with DeepSpeed's ZeRO 1 where it is installed, else plain PyTorch."""
    kind = torch.device(device).type
    side = PRODUCT[kind]
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    peak = 2 * side**3 / min(seconds(lambda: a @ b, kind) for _ in range(20))
    backend = DeepSpeed(zero_stage=1) if INSTALLED else Single()
    print(f"\n## Training of DiT-{size}/2, bf16, `{backend.kind}`; a product reaches {peak / 1e12:.1f} TFLOP/s\n")
    head("micro-batch", "compiled", "images/s", "ms a step", "share of the product", "peak GB")
    for compiled in ("false", "true"):
        for number in micro_batches:
            changes = [f"train.global_batch_size={number}", f"train.micro_batch_size={number}"]
            recipe = model_recipe(size, *changes, f"train.compile={compiled}")
            gc.collect()  # The model before this one.
            reset_peak(kind)
            try:
                taken, loss = trained(recipe, backend, steps)
            except torch.OutOfMemoryError:
                row(number, compiled, "out of memory", "", "", "")
                continue
            if not abs(loss) < 10:
                FAULTS.append(f"micro-batch {number}: the loss is {loss}")
            work = 2 * costs_of(recipe).training * number / taken
            memory = peak_memory(kind) / 1e9
            row(number, compiled, f"{number / taken:.1f}", f"{taken * 1e3:.0f}", f"{work / peak:.1%}", f"{memory:.1f}")


def trained(recipe, backend, steps):
    """Seconds of a step after two to warm up, and the last loss."""
    training = Training(recipe, backend)
    training.turn(2)
    taken, _, loss = training.turn(steps)
    return taken, loss


def latency(size, device):
    """Sampling of 1 and 16 images by 50 guided steps."""
    print(f"\n## Sampling of DiT-{size}/2, bf16, ddim, 50 steps, guided\n")
    head("images", "seconds", "seconds an image")
    recipe = model_recipe(size)
    model = build_model(recipe).to(device).eval().requires_grad_(False)
    source = Trained(recipe=recipe, model=model, codec=None, step=0, weights="raw", digest="", device=device)
    for number in (1, 16):
        denoiser = source.denoiser(torch.arange(number), cfg_scale=4.0)
        noise = Generator(0, "gpu", range(number), device).randn(*sizes(recipe).latent)
        with torch.inference_mode():
            DDIMSampler(num_steps=2).sample(denoiser, noise)  # Warms up.
            taken = seconds(partial(DDIMSampler(num_steps=50).sample, denoiser, noise), torch.device(device).type)
        row(number, f"{taken:.2f}", f"{taken / number:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=["S", "B", "L", "XL"], default="XL")
    parser.add_argument("--micro-batch", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--steps", type=int, default=10)
    parts = ["agreement", "zero", "speed", "latency"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    distributed.initialise()
    device = distributed.device()
    print(json.dumps({**describe(device), "command": sys.argv[1:]}))
    if "agreement" in options.only:
        agreement(device)
    if "zero" in options.only:
        zero()
    if "speed" in options.only:
        speed(options.size, options.micro_batch, options.steps, device)
    if "latency" in options.only:
        latency(options.size, device)
    for fault in FAULTS:
        print(f"error: {fault}", file=sys.stderr)
    raise SystemExit(bool(FAULTS))


if __name__ == "__main__":
    main()
