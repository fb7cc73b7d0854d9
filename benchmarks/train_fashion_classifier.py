"""Train the classifier behind the metrics class-accuracy and fd-fashion, on the 8,500 training images only.

    python benchmarks/train_fashion_classifier.py

About five minutes on one CPU core. Writes dit_toolkit/extractors/fashion-classifier.safetensors (float16) and prints
its SHA-256, which goes into dit_toolkit/extractors/classifier.py. Seeds are fixed; another CPU or another release of
torch rounds differently and gives other weights, of about the same accuracy.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dit_toolkit.datasets.fashion import IMAGES, RAW_SIZE, SHA256, Fashion, FashionSplit
from dit_toolkit.nn.classifier import Classifier

OUT = Path(__file__).parents[1] / "dit_toolkit" / "extractors" / "fashion-classifier.safetensors"
SHIFT = 1
HOLE = 7
BATCH = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()

    torch.set_num_threads(1)  # the sums, and with them the weights, then do not depend on the number of cores
    torch.manual_seed(0)
    dataset = Fashion(image_size=RAW_SIZE)
    x, y = load(dataset.open("train"))
    heldout_x, heldout_y = load(dataset.open("val"))
    model = Classifier().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=5e-2)
    steps = arguments.epochs * len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.2)

    start = time.perf_counter()
    for epoch in range(arguments.epochs):
        model.train()
        for indices in torch.randperm(len(x)).split(BATCH):
            logits, _ = model(augment(x[indices]))
            loss = F.cross_entropy(logits, y[indices], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        elapsed = time.perf_counter() - start
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, held out {accuracy(model, heldout_x, heldout_y):.4f}, "
              f"{elapsed:.0f} s", flush=True)  # fmt: skip

    # The accuracy that counts is that of the rounded weights.
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    metadata = {
        "accuracy_heldout": f"{accuracy(model, heldout_x, heldout_y):.4f}",
        "accuracy_train": f"{accuracy(model, x, y):.4f}",
        "trained_on": "Fashion-MNIST test split, the 8,500 training images of split_seed 0",
        "data_sha256": SHA256[IMAGES],
        "command": f"python benchmarks/train_fashion_classifier.py --epochs {arguments.epochs}",
        "torch": torch.__version__,
        "licence": "Apache-2.0",
    }
    save_file(state, arguments.out, metadata=metadata)
    packed = arguments.out.read_bytes()
    print(metadata)
    print(f"{arguments.out}: {len(packed):,} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")


def load(split: FashionSplit) -> tuple[Tensor, Tensor]:
    """Take a whole split: x (N, 1, 28, 28) in [0, 1] and y (N,)."""
    x = torch.from_numpy(split.images)[:, None].float() / 255
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.labels)


def augment(x: Tensor) -> Tensor:
    """Shift every image by up to 1 pixel, mirror half of them, and erase a square of 7 pixels from a quarter."""
    count, pixels = len(x), torch.arange(RAW_SIZE)
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count, 1))
    columns = torch.where(torch.rand(count, 1) < 0.5, pixels, pixels.flip(0)) + right  # (N, 28)
    rows = pixels + down
    x = F.pad(x, (SHIFT,) * 4)[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    top, left = torch.randint(0, RAW_SIZE - HOLE, (2, count, 1))
    in_rows, in_columns = (pixels >= top) & (pixels < top + HOLE), (pixels >= left) & (pixels < left + HOLE)
    erased = in_rows[:, :, None] & in_columns[:, None, :] & (torch.rand(count, 1, 1) < 0.25)  # (N, 28, 28)
    return x.masked_fill(erased, 0)[:, None]


@torch.no_grad()
def accuracy(model: Classifier, x: Tensor, y: Tensor) -> float:
    """Share of x (N, 1, 28, 28) that the model puts into its class."""
    model.eval()
    return torch.cat([model(part)[0].argmax(1) for part in x.split(500)]).eq(y).double().mean().item()


if __name__ == "__main__":
    main()
