import torch

from dit_toolkit.patchifiers.conv import Conv
from tests.contract.wrong import wrong


class Then(torch.nn.Module):
    """A right module with something done to its output."""

    def __init__(self, module, change):
        super().__init__()
        self.module, self.change = module, change

    def forward(self, *inputs):
        return self.change(self.module(*inputs))


@wrong("shapes")
class Turned(Conv):
    """Returns an image that lies on its side when it is not square."""

    def build_head(self, hidden_size, out_channels):
        def change(x):
            return x if len(x) == 1 else x.transpose(2, 3)

        return Then(Conv.build_head(self, hidden_size, out_channels), change)


@wrong("refuses_what_does_not_divide")
class Cropping(Conv):
    def grid(self, height, width):
        return height // self.patch[0], width // self.patch[1]


@wrong("refuses_what_does_not_divide")
class Terse(Conv):
    def grid(self, height, width):
        if height % self.patch[0] or width % self.patch[1]:
            raise ValueError("wrong size")
        return height // self.patch[0], width // self.patch[1]


@wrong("tokens_are_row_major")
class ColumnMajor(Conv):
    def build_embed(self, in_channels, hidden_size):
        def change(x):  # (N, 6, D), 2 rows and 3 columns
            return x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)

        return Then(Conv.build_embed(self, in_channels, hidden_size), change)


@wrong("embedding_keeps_the_patch")
class Averaging(Conv):
    """Sees the mean of a patch only."""

    def build_embed(self, in_channels, hidden_size):
        patch = self.patch
        embed = Conv.build_embed(self, in_channels, hidden_size)

        class Mean(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = embed

            def forward(self, x):
                mean = torch.nn.functional.avg_pool2d(x, patch)
                return self.embed(mean.repeat_interleave(patch[0], 2).repeat_interleave(patch[1], 3))

        return Mean()


@wrong("head_puts_tokens_back")
class Reversed(Conv):
    def build_head(self, hidden_size, out_channels):
        return Then(Conv.build_head(self, hidden_size, out_channels), lambda x: x.flip(2))


@wrong("head_is_zero_at_start")
class NoisyHead(Conv):
    def build_head(self, hidden_size, out_channels):
        head = Conv.build_head(self, hidden_size, out_channels)
        head.reset = lambda: None
        return head


@wrong("macs")
class Forgetful(Conv):
    def macs(self, tokens, hidden_size, in_channels, out_channels):
        return {**Conv.macs(self, tokens, hidden_size, in_channels, out_channels), "head": 0}
