"""What a model costs: multiply-adds and memory, counted before anything is trained.

One multiply-add (MAC) is two floating-point operations; the DiT paper's "Gflops" are GMACs. Training costs three
forward passes an image.
"""

from __future__ import annotations

from dit_toolkit.flops.costs import Costs, costs_of, resized
from dit_toolkit.flops.counter import counted_macs
from dit_toolkit.flops.formula import TRAINING, input_gradient_macs, macs, network_macs
from dit_toolkit.flops.paper import SIZES, paper_gmacs
from dit_toolkit.flops.saved import activations
from dit_toolkit.flops.state import memory, state_options, zero_stage

__all__ = [
    "SIZES",
    "TRAINING",
    "Costs",
    "activations",
    "costs_of",
    "counted_macs",
    "input_gradient_macs",
    "macs",
    "memory",
    "network_macs",
    "paper_gmacs",
    "resized",
    "state_options",
    "zero_stage",
]
