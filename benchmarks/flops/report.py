"""A table of what was counted and measured."""

from dit_toolkit.cli.shell import amount, table

HEADER = [
    ("model", ""),
    ("tokens", ""),
    ("parameters", ""),
    ("GMACs", "formula"),
    ("GMACs", "counter"),
    ("GMACs", "paper"),
    ("GFLOPs", ""),
    ("forward", "ms"),
    ("training", "ms"),
    ("forward", "GFLOP/s"),
    ("training", "GFLOP/s"),
    ("forward", "of peak"),
    ("training", "of peak"),
    ("memory", "peak GiB"),
]


def rates(row, batch):
    """FLOP/s of a forward pass and a training step, and their shares of the matrix product's."""
    forward = 2 * row["forward_macs"] * batch / row["forward_seconds"]
    train = 2 * row["training_macs"] * batch / row["train_seconds"]
    peak = row["product_flops_per_second"]
    return {
        "forward_flops_per_second": forward,
        "train_flops_per_second": train,
        "forward_of_peak": forward / peak,
        "train_of_peak": train / peak,
    }


def text(found):
    """The table, under what it was measured on and with."""
    machine, settings, rows = found["hardware"], found["settings"], found["rows"]
    peak = [row["product_flops_per_second"] / 1e9 for row in rows]
    lines = [
        f"{found['date']}, torch {found['versions']['torch']}, {machine['gpu'] or machine['cpu']}, "
        f"{machine['threads']} CPU thread(s), {settings['dtype']}",
        f"{settings['batch']} images in a step (forward, backward, fused AdamW); the shortest of {settings['repeats']} "
        "rounds",
        f"peak: the product of two square matrices of that type in the same rounds, {min(peak):,.0f} to "
        f"{max(peak):,.0f} GFLOP/s",
        "GMACs and GFLOPs of one image's forward pass; the paper calls its GMACs Gflops",
        "",
    ]
    upper, lower = zip(*HEADER, strict=True)
    return "\n".join(lines) + table([upper, lower, *map(_row, rows)], numbers=True)


def _row(row):
    memory = row["peak_memory"]
    return [
        row["name"],
        f"{row['tokens']:,}",
        f"{row['parameters']:,}",
        amount(row["forward_macs"] / 1e9),
        amount(row["forward_macs_counted"] / 1e9),
        "-" if row["paper_gmacs"] is None else f"{row['paper_gmacs']:.2f}",
        amount(2 * row["forward_macs"] / 1e9),
        f"{1e3 * row['forward_seconds']:,.1f}",
        f"{1e3 * row['train_seconds']:,.1f}",
        f"{row['forward_flops_per_second'] / 1e9:,.1f}",
        f"{row['train_flops_per_second'] / 1e9:,.1f}",
        f"{row['forward_of_peak']:.0%}",
        f"{row['train_of_peak']:.0%}",
        "-" if memory is None else f"{memory / 2**30:.2f}",
    ]
