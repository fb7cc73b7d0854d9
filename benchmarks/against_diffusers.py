"""A training step of our DiT against diffusers' `DiTTransformer2DModel` of the same size, in one process.

    python benchmarks/against_diffusers.py --size S --batch 16 --dtype float32 bfloat16 --threads 2

First both are shown to compute the same: with equal weights, equal outputs and gradients. Then forward, backward and
fused AdamW are timed, the two taking turns, and minima are compared: wall time, and CPU time of the process, which
other programs disturb less. In bfloat16 ours has bf16 weights with float32 masters, as our backends train, and theirs
runs under autocast on float32 weights. Saved activations are counted exactly, with saved-tensor hooks: each storage
once, and as the difference of two batch sizes, so that parameters and casts of them drop out.

Of a step of ours the matrix products are timed too, by torch's profiler: a step that needed nothing else would be so
many times as fast as theirs, and no step can be faster.

With --compile both run twice, as they are and with their blocks compiled by torch.compile, each block on its own; what
a compiled block keeps is not counted, since torch decides that anew.
"""

import argparse
import copy
import time
from functools import partial
from itertools import pairwise

import diffusers
import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel

from dit_toolkit.backends.single import Single
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.flops.saved import saved_bytes
from dit_toolkit.nn.dit import DiT
from dit_toolkit.patchifiers.conv import Conv
from dit_toolkit.testing.inputs import randomise

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1152, 28, 16)}
PHASES = ("forward", "backward", "optimizer", "step")
PRODUCTS = ("mkldnn::_linear_pointwise", "aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def build(width, depth, heads, side=32, classes=1000):
    """Both models, float32, with the same random weights."""
    ours = randomise(
        DiT(
            input_size=(side, side),
            in_channels=4,
            out_channels=8,
            hidden_size=width,
            depth=depth,
            num_heads=heads,
            num_classes=classes,
            patchifier=Conv(patch_size=2),
            block=AdaLNZero(),
        )
    )
    for parameter in ours.parameters():
        parameter.data.mul_(0.1)
    theirs = DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        in_channels=4,
        out_channels=8,
        num_layers=depth,
        sample_size=side,
        num_embeds_ada_norm=classes,
        norm_eps=1e-6,
    )
    theirs.pos_embed.pos_embed.copy_(ours.positions)
    for block in theirs.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0  # Our frequencies, the paper's.
        block.norm1.emb.class_embedder.dropout_prob = 0
    named = dict(theirs.named_parameters())
    with torch.no_grad():
        for name, value in ours.named_parameters():
            targets = [named.pop(target) for target in names(name, depth)]
            for target, part in zip(targets, split(name, value, len(targets)), strict=True):
                target.copy_(part)
    if named:
        raise SystemExit(f"weights of diffusers' model that are not mapped: {', '.join(named)}")
    return ours.train(), theirs.train()


def names(name, depth):
    """Parameters of diffusers' model that hold what ours of this name holds; its blocks have an embedding each."""
    part, _, kind = name.rpartition(".")
    blocks = [f"transformer_blocks.{i}.norm1.emb" for i in range(depth)]
    if part.startswith("time_embed"):
        return [f"{block}.timestep_embedder.linear_{part[-1]}.{kind}" for block in blocks]
    if part == "label_embed":
        return [f"{block}.class_embedder.embedding_table.{kind}" for block in blocks]
    if part.startswith("blocks"):
        _, index, *rest = part.split(".")
        inner = {
            "attention.qkv": ["attn1.to_q", "attn1.to_k", "attn1.to_v"],
            "attention.proj": ["attn1.to_out.0"],
            "mlp.fc1": ["ff.net.0.proj"],
            "mlp.fc2": ["ff.net.2"],
            "modulation": ["norm1.linear"],
        }[".".join(rest)]
        return [f"transformer_blocks.{index}.{target}.{kind}" for target in inner]
    outer = {"patch_embed.proj": "pos_embed.proj", "final.modulation": "proj_out_1", "head.linear": "proj_out_2"}
    return [f"{outer[part]}.{kind}"]


def split(name, value, count):
    """Queries, keys and values apart; embeddings repeated."""
    return value.chunk(3) if ".qkv." in name else [value] * count


def batch(size, side=32, classes=1000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 4, side, side, generator=generator)
    t = torch.randint(1000, (size,), generator=generator)
    y = torch.randint(classes, (size,), generator=generator)
    return x, t, y, torch.randn(size, 8, side, side, generator=generator)


def run_theirs(model, x, t, y):
    return model(x, timestep=t, class_labels=y).sample


def relative(a, b):
    return float((a.detach() - b.detach()).norm() / b.detach().norm())


def gradients(ours, theirs, depth):
    """Gradient of each of our parameters, and what diffusers' model has for it."""
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        parts = [named[target].grad.double() for target in names(name, depth)]
        yield parameter.grad.double(), torch.cat(parts) if ".qkv." in name else torch.stack(parts).sum(0)


def check_equal(width, depth, heads):
    """Stop unless both compute the same in float64; say how far each is from that in bf16."""
    ours, theirs = build(width, depth, heads)
    x, t, y, target = batch(2)
    models = {"ours": partial(copy.deepcopy(ours).double(), x.double(), t, y)}
    models["theirs"] = partial(run_theirs, copy.deepcopy(theirs).double(), x.double(), t, y)
    models["ours bf16"] = partial(ours.bfloat16(), x, t, y)
    models["theirs bf16"] = partial(run_theirs, theirs, x, t, y)
    outputs = {}
    for name, forward in models.items():
        with torch.autocast("cpu", torch.bfloat16, enabled=name == "theirs bf16"):
            outputs[name] = forward().double()
        F.mse_loss(outputs[name], target.double()).backward()
    exact_ours, exact_theirs = models["ours"].func, models["theirs"].args[0]
    pairs = {
        "in float64, ours and theirs": (outputs["ours"], gradients(exact_ours, exact_theirs, depth)),
        "bf16 ours and float64": (outputs["ours bf16"], gradients(ours, exact_theirs, depth)),
        "bf16 theirs and float64": (outputs["theirs bf16"], gradients(exact_ours, theirs, depth)),
    }
    for name, (output, pairs_of_gradients) in pairs.items():
        apart = relative(output, outputs["theirs"])
        worst = max(relative(a, b) for a, b in pairs_of_gradients)
        print(f"  {name:28} differ by {apart:.1e} in the output, {worst:.1e} in the gradient that differs most")
        if "in float64" in name and max(apart, worst) > 1e-4:
            raise SystemExit("the two models do not compute the same")


class Contender:
    """One of the two models in training."""

    def __init__(self, model, forward, dtype, *, masters, compiled=False):
        self.model, self.forward = model, forward
        for block in (model.blocks if masters else model.transformer_blocks) if compiled else ():
            block.compile()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
        self.low, self.masters, self.optimizer, self.engine = dtype == "bfloat16", masters, optimizer, None
        if masters:
            self.engine = Single().start(
                model,
                optimizer,
                precision="bf16" if self.low else "fp32",
                gradient_clipping=0.0,
                micro_batch_size=1,
                accumulation=1,
                device="cpu",
            )

    def loss(self, x, t, y, target):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low and not self.masters):
            return F.mse_loss(self.forward(self.model, x, t, y).float(), target)

    def step(self, inputs):
        """Wall and CPU seconds of forward, backward and optimizer."""
        marks = [(time.perf_counter(), time.process_time())]
        loss = self.loss(*inputs)
        marks.append((time.perf_counter(), time.process_time()))
        loss.backward()
        marks.append((time.perf_counter(), time.process_time()))
        if self.engine:
            self.engine.step(1e-4)
        else:
            self.optimizer.step()
            self.optimizer.zero_grad()
        marks.append((time.perf_counter(), time.process_time()))
        phases = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
        return [*phases, tuple(map(sum, zip(*phases, strict=True)))]


def products(contender, inputs, repeats):
    """Milliseconds that a step spends in matrix products: the least of several steps."""
    found = []
    for _ in range(repeats):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            contender.step(inputs)
        found.append(sum(e.self_cpu_time_total for e in profiler.key_averages() if e.key in PRODUCTS) / 1e3)
    return min(found)


def compare(name, dtype, batch_size, repeats, *, compiled=False):
    width, depth, heads = SIZES[name]
    ours, theirs = build(width, depth, heads)
    contenders = {
        "ours": Contender(ours, lambda model, *given: model(*given), dtype, masters=True, compiled=compiled),
        "theirs": Contender(theirs, run_theirs, dtype, masters=False, compiled=compiled),
    }
    inputs, taken = batch(batch_size), {"ours": [], "theirs": []}
    for _ in range(repeats + 1):  # The first is a warm-up.
        for side, contender in contenders.items():
            taken[side].append(contender.step(inputs))
    how = "both compiled" if compiled else "neither compiled"
    print(f"\n{dtype}, batch {batch_size}, {how}: minima of {repeats}, wall ms and CPU ms")
    if compiled:
        first = ", ".join(f"{side} {times[0][-1][0]:.0f} s" for side, times in taken.items())
        print(f"  the first step, in which is compiled, takes {first}")
    print("               ours   theirs   ratio       ours   theirs   ratio")
    for index, phase in enumerate(PHASES):
        line = f"  {phase:9}"
        for clock in (0, 1):
            mine, other = (min(times[index][clock] for times in taken[side][1:]) * 1e3 for side in ("ours", "theirs"))
            line += f" {mine:8.0f} {other:8.0f} {other / mine:7.2f}  "
        print(line)
    if compiled:
        return
    alone, whole = (min(times[-1][0] for times in taken[side][1:]) * 1e3 for side in ("ours", "theirs"))
    least = products(contenders["ours"], inputs, repeats)
    print(
        f"  matrix products alone: {least:.0f} ms, {least / alone:.0%} of our step; "
        f"with nothing else the ratio would be {whole / least:.2f}"
    )
    kept = {}
    for side, contender in contenders.items():
        counts = [saved_bytes(contender.loss, *batch(n), parameters=contender.model.parameters()) for n in (1, 2)]
        kept[side] = counts[1] - counts[0]
    unit = (32 // 2) ** 2 * width * (2 if dtype == "bfloat16" else 4)
    both = ", ".join(f"{side} {n / 2**20:.2f} MiB = {n / depth / unit:.2f} T D a block" for side, n in kept.items())
    print(f"  saved activations of an image: {both}; ratio {kept['ours'] / kept['theirs']:.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    versions = f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    print(f"DiT-{options.size}/2, {versions}, {options.threads} threads on a CPU")
    check_equal(*SIZES[options.size])
    for dtype in options.dtype:
        for compiled in (False, True) if options.compile else (False,):
            compare(options.size, dtype, options.batch, options.repeats, compiled=compiled)


if __name__ == "__main__":
    main()
