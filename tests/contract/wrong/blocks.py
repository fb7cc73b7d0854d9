import torch

from dit_toolkit.blocks.adaln_zero import AdaLNZero
from tests.contract.wrong import wrong


class Around(torch.nn.Module):
    """A right block with something done to its input or output."""

    def __init__(self, block, size, heads, change):
        super().__init__()
        self.block, self.change, self.calls = AdaLNZero.build(block, size, heads), change, 0

    def forward(self, x, t, y):
        self.calls += 1
        return self.change(self, self.block, x, t, y)


@wrong("shapes")
class Pooling(AdaLNZero):
    def build(self, hidden_size, num_heads):
        return Around(self, hidden_size, num_heads, lambda _, block, x, t, y: block(x, t, y)[:, :16])


@wrong("rows_are_independent")
class LeakingBatch(AdaLNZero):
    """Shifts t by its mean over the batch."""

    def build(self, hidden_size, num_heads):
        return Around(self, hidden_size, num_heads, lambda _, block, x, t, y: block(x, t - t.mean(0) / 2, y))


@wrong("gradient_reaches_everything")
class Blind(AdaLNZero):
    """Does not look at the class."""

    def build(self, hidden_size, num_heads):
        return Around(self, hidden_size, num_heads, lambda _, block, x, t, y: block(x, t, 0 * y.detach()))


@wrong("identity_at_start")
class Ungated(AdaLNZero):
    def build(self, hidden_size, num_heads):
        return Around(self, hidden_size, num_heads, lambda _, block, x, t, y: 1.01 * block(x, t, y))


@wrong("bf16_is_finite")
class Float32Inside(AdaLNZero):
    """Makes a float32 embedding on the way, as many timestep embeddings do."""

    def build(self, hidden_size, num_heads):
        return Around(self, hidden_size, num_heads, lambda _, block, x, t, y: block(x, t.float(), y))


@wrong("checkpointed_is_plain")
class Counting(AdaLNZero):
    """Is another function in every second pass."""

    def build(self, hidden_size, num_heads):
        def change(self, block, x, t, y):
            return block(x, t, y if self.calls % 2 or not x.requires_grad else 2 * y)

        return Around(self, hidden_size, num_heads, change)


@wrong("macs")
class Forgetful(AdaLNZero):
    def macs(self, tokens, hidden_size):
        return {**AdaLNZero.macs(self, tokens, hidden_size), "modulation": 0}
