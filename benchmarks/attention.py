"""Attention kernels at DiT shapes: the plain products of `nn/attention.py` against torch's fused kernel.

    python benchmarks/attention.py [--device cpu] [--dtype bfloat16]

Forward and backward, runs interleaved, minima printed.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from dit_toolkit.nn.attention import attend

SHAPES = [(64, 4, 64, 32), (16, 6, 256, 64), (4, 16, 256, 72), (1, 16, 1024, 72)]


def seconds(function, qkv, gradient):
    begin = time.perf_counter()
    torch.autograd.grad(function(*qkv), qkv, gradient)
    if qkv[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    print(f"torch {torch.__version__}, {options.device}, {options.dtype}, {torch.get_num_threads()} threads")
    print("(N, heads, T, d)        ours ms   fused ms   fused / ours")
    for shape in SHAPES:
        qkv = [torch.randn(shape, device=options.device, dtype=dtype, requires_grad=True) for _ in range(3)]
        gradient = torch.randn(shape, device=options.device, dtype=dtype)
        times = {attend: [], F.scaled_dot_product_attention: []}
        for _ in range(options.repeats + 1):
            for function, taken in times.items():
                taken.append(seconds(function, qkv, gradient) * 1e3)
        ours, fused = (min(taken[1:]) for taken in times.values())
        print(f"{shape!s:20} {ours:10.2f} {fused:10.2f} {fused / ours:14.2f}")


if __name__ == "__main__":
    main()
