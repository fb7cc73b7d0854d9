import typing

import pytest
import torch
from attrs import frozen

from dit_toolkit.components import Sampler
from dit_toolkit.diffusion.steps import SPACINGS, spaced
from dit_toolkit.errors import RecipeError
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.plugin import option_types
from dit_toolkit.recipe.structure import structure, unstructure
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.samplers.heun import Heun
from dit_toolkit.samplers.stepped import Stepped
from dit_toolkit.testing import Gaussian


def test_the_option_offers_every_spacing():
    literal, _ = typing.get_args(option_types(Stepped)["spacing"])
    assert list(typing.get_args(literal)) == list(SPACINGS)


def test_the_list_is_the_objectives_unless_another_is_asked_for():
    for objective in (DDPM(), FlowMatching(shift=3.0)):
        assert Heun(num_steps=7).times(objective) == objective.times(7)
        assert Heun(num_steps=7, spacing="karras", rho=5.0).times(objective) == spaced(
            objective.schedule, 7, "karras", 5.0
        )
    assert Heun(timesteps=(999, 10)).times(DDPM()) == [1.0, 0.011, 0.0]
    assert len(Heun(timesteps="3,4").times(DDPM())) == 8
    assert Euler(num_steps=2, shift=3.0).times(FlowMatching()) == FlowMatching(shift=3.0).times(2)


def test_a_sampler_visits_the_list_of_its_denoiser():
    denoiser, sampler = Gaussian(DDPM()), Euler(timesteps=(999, 600, 3))
    noise = torch.zeros(1, 1, 1, 1)
    sampler.sample(denoiser, noise)
    assert denoiser.calls == sampler.times(DDPM())[:-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": []}, "timesteps: must be at least one, and fall"),
        ({"timesteps": [1, 2]}, "timesteps: must be at least one, and fall"),
        ({"timesteps": [2, 2]}, "timesteps: must be at least one, and fall"),
        ({"timesteps": "10,,3"}, "timesteps: must be counts of at least 1"),
        ({"timesteps": "10,0"}, "timesteps: must be counts of at least 1"),
        ({"timesteps": ["a"]}, r"timesteps\[0\]: expected float"),
        ({"spacing": "even"}, "spacing: expected one of 'uniform'"),
        ({"rho": 0}, "rho: must be > 0"),
        ({"rho": 5}, r"rho: rho \(5\) belongs to spacing 'karras'"),
        ({"timesteps": [1], "spacing": "karras"}, "spacing: spacing 'karras' has no meaning beside timesteps"),
        ({"shift": 0}, "shift: must be > 0"),
        ({"num_steps": 0}, "num_steps: must be >= 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(RecipeError, match=message):
        structure(options, Heun)


def test_explicit_steps_survive_a_recipe():
    for sampler in (Heun(timesteps=(999.0, 5.0)), Heun(timesteps="10,15,20", shift=2.0)):
        table = unstructure(sampler)
        table.pop("kind")
        assert structure(table, Heun) == sampler


def test_check_refuses_a_list_that_the_objective_does_not_have():
    for sampler, message in (
        (Heun(num_steps=1001), r"num_steps \(1001\)"),
        (Heun(timesteps=(1000,)), "timesteps: 1000"),
        (Heun(shift=2.0), r"shift \(2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            sampler.check(DDPM())
    with pytest.raises(ValueError, match="spacing 'leading' needs"):
        Heun(spacing="leading").check(FlowMatching())


def test_a_sampler_of_a_plugin_needs_no_more_than_a_loop():
    @frozen(kw_only=True)
    class Own(Stepped):
        """Asks and does nothing."""

        kind = "own"

        def sample(self, denoiser, noise, *, generator=None):
            for t in self.times(denoiser)[:-1]:
                denoiser(noise, t)
            return noise

    assert issubclass(Own, Sampler)
    assert Own(num_steps=3).times(FlowMatching()) == FlowMatching().times(3)


@pytest.mark.parametrize(
    ("options", "calls"), [({"num_steps": 7}, 7), ({"timesteps": (0.9, 0.5, 0.1)}, 3), ({"timesteps": "10,15,20"}, 45)]
)
def test_calls_are_those_of_the_list(options, calls):
    assert Euler(**options).calls == calls
    assert Heun(**options).calls == 2 * calls
