"""Compute and time against tokens, on logarithmic axes."""

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

MARKERS = {"adaln-zero": "o", "adaln": "s", "in-context": "^", "cross-attention": "D"}
PAPER = {"linestyle": "none", "marker": "o", "markersize": 15, "markerfacecolor": "none", "markeredgecolor": "black"}
GUIDE = {"color": "grey", "linestyle": ":", "label": "proportional to tokens"}


def plot(found, path):
    """Write a PNG: GFLOPs of a forward pass to the left, milliseconds for an image to the right."""
    rows, settings, machine = found["rows"], found["settings"], found["hardware"]
    figure, (compute, time) = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
    for index, (name, own) in enumerate(lines(rows).items()):
        tokens = [row["tokens"] for row in own]
        style = {"color": f"C{index % 10}", "marker": MARKERS[own[0]["variant"]], "markerfacecolor": "none"}
        compute.plot(tokens, [gflops(row) for row in own], label=name, **style)
        time.plot(tokens, [milliseconds(row, settings, "train") for row in own], **style)
        time.plot(tokens, [milliseconds(row, settings, "forward") for row in own], linestyle="--", **style)
    paper = [row for row in rows if row["paper_gmacs"] is not None]
    if paper:
        label = "the paper: twice its 'Gflops'"
        compute.plot([row["tokens"] for row in paper], [2 * row["paper_gmacs"] for row in paper], label=label, **PAPER)
    most = max(rows, key=lambda row: row["tokens"])
    _guide(compute, rows, gflops(most))
    _guide(time, rows, milliseconds(most, settings, "train"))
    _finish(compute, rows, "GFLOPs of one forward pass (2 x GMACs)", "Compute for one image")
    _finish(
        time,
        rows,
        "milliseconds for one image",
        f"Time for one image, {settings['dtype']}, batch {settings['batch']}",
    )
    figure.suptitle(
        f"{machine['gpu'] or machine['cpu']}, {machine['threads']} CPU thread(s), torch {found['versions']['torch']}, "
        f"{found['date']}",
        fontsize=9,
    )
    compute.legend(fontsize=9)
    styles = [Line2D([], [], color="black", label="training step (forward, backward, AdamW)")]
    styles += [Line2D([], [], color="black", linestyle="--", label="forward pass"), Line2D([], [], **GUIDE)]
    time.legend(handles=styles, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def lines(rows):
    """Rows of one size, variant and image size, by name, each in the order of tokens."""
    found = {}
    for row in sorted(rows, key=lambda row: row["tokens"]):
        found.setdefault(f"DiT-{row['size']}, {row['variant']}, {row['image_size']} px", []).append(row)
    return found


def gflops(row):
    return 2 * row["forward_macs"] / 1e9


def milliseconds(row, settings, what):
    return 1e3 * row[f"{what}_seconds"] / settings["batch"]


def _guide(axes, rows, end):
    """A line of slope 1 that ends in a point."""
    tokens = sorted({row["tokens"] for row in rows})
    axes.plot(tokens, [end * count / tokens[-1] for count in tokens], **GUIDE)


def _finish(axes, rows, label, title):
    axes.set(xscale="log", yscale="log", xlabel="tokens (patch size)", ylabel=label, title=title)
    patches = {}
    for row in sorted(rows, key=lambda row: row["tokens"]):
        patches.setdefault(row["tokens"], {})[f"/{row['patch']}"] = None
    axes.set_xticks(list(patches), [f"{tokens}\n({', '.join(sides)})" for tokens, sides in patches.items()])
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
