"""What a model costs by formula and by torch's counter, on tensors without data."""

import torch

from benchmarks.flops.cases import OUT_CHANNELS
from dit_toolkit.flops import TRAINING, counted_macs, input_gradient_macs, network_macs, paper_gmacs
from dit_toolkit.nn.dit import count_parameters


def count(case):
    """Counts of a case, and the two that must be equal to the counter's."""
    parts = network_macs(case.model, case.latent, OUT_CHANNELS)
    forward = sum(parts.values())
    with torch.device("meta"):
        network = case.build()
        inputs = case.inputs(1, device="meta")
        counted = {training: counted_macs(network, *inputs, training=training) for training in (False, True)}
    return {
        "tokens": case.tokens,
        "parameters": count_parameters(network),
        "macs": parts,
        "forward_macs": forward,
        "forward_macs_counted": counted[False],
        "training_macs": TRAINING * forward - input_gradient_macs(case.model, parts),
        "training_macs_counted": counted[True],
        "paper_gmacs": paper_gmacs(case.model, case.latent, OUT_CHANNELS),
    }
