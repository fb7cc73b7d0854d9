"""Products of linear layers on a CPU: torch's F.linear and matmul against oneDNN's kernel, which `nn/matmul.py` takes.

    python benchmarks/matmul.py --threads 2 --rows 4096

Prints GFLOP/s, the best of several turns, for the layers of S and B: with a bias as in the forward pass, and with the
weight transposed as for the gradient of the input.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from dit_toolkit.nn.matmul import product

SHAPES = [(width, factor * width) for width in (384, 768) for factor in (1, 3, 4)]


def gflops(function, work, turns):
    best = float("inf")
    for _ in range(turns + 1):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return work / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", type=int, default=4096, help="images times tokens")
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'':24} {'forward':>20} {'gradient of input':>20}")
    print(f"{'in, out':24} {'torch':>10}{'ours':>10} {'torch':>10}{'ours':>10}   GFLOP/s")
    for dtype in (torch.float32, torch.bfloat16):
        for wide, narrow in SHAPES:
            for d_in, d_out in {(wide, narrow), (narrow, wide)}:
                x, grad = (torch.randn(options.rows, size, dtype=dtype) for size in (d_in, d_out))
                weight, bias = torch.randn(d_out, d_in, dtype=dtype), torch.randn(d_out, dtype=dtype)
                ways = [
                    lambda x=x, w=weight, b=bias: F.linear(x, w, b),
                    lambda x=x, w=weight, b=bias: product(x, w, b),
                    lambda g=grad, w=weight: g @ w,
                    lambda g=grad, w=weight: product(g, w.t()),
                ]
                work = 2 * options.rows * d_in * d_out
                forward, ours, backward, ours_back = (gflops(way, work, options.turns) for way in ways)
                name = f"{str(dtype).removeprefix('torch.')} {d_in}, {d_out}"
                print(f"{name:24} {forward:10.0f}{ours:10.0f} {backward:10.0f}{ours_back:10.0f}")


if __name__ == "__main__":
    main()
