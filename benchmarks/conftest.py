"""Options of `pytest benchmarks`."""

from pathlib import Path

from dit_toolkit.blocks.adaln import AdaLN
from dit_toolkit.blocks.adaln_zero import AdaLNZero
from dit_toolkit.blocks.cross_attention import CrossAttention
from dit_toolkit.blocks.in_context import InContext
from dit_toolkit.flops import SIZES

VARIANTS = {block.kind: block for block in (AdaLNZero, AdaLN, InContext, CrossAttention)}


def pytest_addoption(parser):
    group = parser.getgroup("dit-toolkit", "benchmarks of dit-toolkit")
    group.addoption("--size", nargs="+", choices=list(SIZES), default=["S"], help="sizes of the paper, and 2B")
    group.addoption("--variant", nargs="+", choices=list(VARIANTS), default=["adaln-zero"], help="kinds of block")
    group.addoption("--patch", nargs="+", type=int, default=[2, 4, 8], help="patch sizes")
    group.addoption("--image-size", nargs="+", type=int, default=[256], help="pixels; the latent has an eighth")
    group.addoption("--batch", type=int, default=8, help="images in a step")
    group.addoption("--dtype", choices=["float32", "bfloat16"], default="float32", help="of weights and activations")
    group.addoption("--device", default="cpu", help="cpu or cuda")
    group.addoption("--repeats", type=int, default=5, help="rounds, of which the shortest time counts")
    group.addoption("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
