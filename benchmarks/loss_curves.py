"""Is my loss normal? Draws the loss of runs, and their held-out loss by time, for docs/training.md.

    python benchmarks/loss_curves.py RUN [RUN ...] --out docs/loss.png [--by-time docs/loss-by-time.png]

Reads `metrics.jsonl` and the newest `validation/step-*.json` of each run folder; prints the loss at some steps.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

from dit_toolkit.report import read_log
from dit_toolkit.validation import newest

STEPS = (5, 10, 20, 50, 100, 200, 500, 1_000, 1_500, 2_000, 2_400, 3_000, 4_000)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, help="plot of the loss")
    parser.add_argument("--by-time", type=Path, help="plot of the held-out loss by time")
    arguments = parser.parse_args()
    logs = {run.name: read_log(run / "metrics.jsonl") for run in arguments.runs}
    print(table(logs))
    if arguments.out:
        draw(logs, arguments.out)
    found = [(run.name, loss) for run in arguments.runs if (loss := newest(run))]
    for name, loss in found:
        print(f"\n{name}, held-out loss of {loss['settings']['images']} images at step {loss['settings']['step']}:\n")
        print(times(loss["losses"]))
    if arguments.by_time and found:
        draw_by_time(found, arguments.by_time)


def table(logs):
    """The mean loss since the row before, at the steps that some run has logged, as Markdown."""
    losses = {name: {row["step"]: row["loss"] for row in rows} for name, rows in logs.items()}
    steps = [step for step in STEPS if any(step in of for of in losses.values())]
    lines = ["| step | " + " | ".join(losses) + " |", "|---|" + "---|" * len(losses)]
    for step in steps:
        cells = [f"{of[step]:.3f}" if step in of else "" for of in losses.values()]
        lines.append(f"| {step:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def times(losses):
    """Held-out loss of averaged and raw weights by time, as Markdown."""
    lines = ["| t | " + " | ".join(losses) + " |", "|---|" + "---|" * len(losses)]
    for time in losses["ema"]["by_time"]:
        lines.append(f"| {time} | " + " | ".join(f"{loss['by_time'][time]:.4f}" for loss in losses.values()) + " |")
    lines.append("| mean | " + " | ".join(f"{loss['mean']:.4f}" for loss in losses.values()) + " |")
    return "\n".join(lines)


def draw(logs, path):
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for name, rows in logs.items():
        axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], label=name, linewidth=1.6)
    axes.set(xlabel="step", ylabel="loss", xscale="log", yscale="log")
    finish(figure, axes, path)


def draw_by_time(found, path):
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for number, (name, loss) in enumerate(found):
        for kind, style in (("ema", "o-"), ("raw", "o--")):
            by_time = loss["losses"][kind]["by_time"]
            label = f"{name}, {kind}, step {loss['settings']['step']:,}"
            axes.plot(
                [float(time) for time in by_time],
                list(by_time.values()),
                style,
                color=f"C{number}",
                markersize=4,
                label=label,
            )
    axes.set(xlabel="t (0 data, 1 noise)", ylabel="held-out loss", xlim=(0, 1), yscale="log")
    finish(figure, axes, path)


def finish(figure, axes, path):
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
            axis.set_minor_locator(NullLocator())
        axis.set_major_formatter("{x:,g}")
    axes.grid(which="both", linewidth=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
