from typing import Literal

from attrs import define, field, frozen

from dit_toolkit.components import Sampler
from dit_toolkit.samplers.euler import Euler
from tests.contract.wrong import WRONG, wrong


@define(kw_only=True)
class Thawed(Sampler):
    """An option can be set."""

    kind = "thawed"
    num_steps: int = 50

    def sample(self, denoiser, noise, *, generator=None):
        return Euler(num_steps=self.num_steps).sample(denoiser, noise)


WRONG.append(("frozen", Thawed()))


@frozen
class Positional(Euler):
    """An option can be given by position."""

    extra: int = 3


WRONG.append(("keyword_only", Positional()))


@frozen(kw_only=True)
class Untyped(Euler):
    """An option has no type."""

    extra = field(default=3)


WRONG.append(("options_are_typed", Untyped()))


@wrong("defaults_are_not_shared")
class Shared(Euler):
    weights: list[float] = [1.0]  # noqa: RUF012 - that is what is wrong


@wrong("kind")
class Kind(Euler):
    kind = "Euler_2"


@frozen(kw_only=True)
class Undocumented(Euler):
    pass


WRONG.append(("docstring", Undocumented()))


@wrong("round_trip")
class Mistyped(Euler):
    mode: Literal["a", "b"] = "c"


@frozen(kw_only=True, init=False)
class Swallowing(Euler):
    """Takes any option."""

    def __init__(self, *, num_steps=50, **ignored):
        self.__attrs_init__(num_steps=num_steps)


WRONG.append(("unknown_option_is_refused", Swallowing()))


@wrong("picklable")
class Local(Euler):
    def __reduce__(self):
        raise TypeError("it holds an open file")
