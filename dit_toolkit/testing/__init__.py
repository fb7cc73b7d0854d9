"""Checks that every component must pass, built-in or a plugin's, and oracles to test against.

    from dit_toolkit.testing import parametrize_with_checks

    @parametrize_with_checks([Midpoint(), Midpoint(num_steps=3)])
    def test_contract(component, check):
        check(component)

A check is a plain function `check_<name>(component)` that raises an AssertionError saying what is wrong. Torch and
pytest are imported when a check needs them.
"""

from dit_toolkit.testing.oracles import Gaussian
from dit_toolkit.testing.parametrize import checks_of, parametrize_with_checks

__all__ = ["Gaussian", "checks_of", "parametrize_with_checks"]
