"""Networks with random weights that behave like trained ones."""

from pathlib import Path

import torch
from torch import nn


def he_initialised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Set weights so that activations keep their size (He et al. 2015); torch's own initialisation lets them fade."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = draw(module.weight) * (2 / module.weight[0].numel()) ** 0.5
            if module.bias is not None:
                module.bias.data = draw(module.bias) * 0.1
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = draw(module.weight).abs() * 0.2 + 0.8
            module.bias.data = draw(module.bias) * 0.1
            module.running_mean.copy_(draw(module.running_mean) * 0.1)
            module.running_var.copy_(draw(module.running_var).abs() * 0.2 + 0.8)
    return network.eval()


def save_network(path: Path, network: nn.Module) -> Path:
    """Write random weights to a file as trained ones would lie there."""
    torch.save(he_initialised(network).state_dict(), path)
    return path
