import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_toolkit.diffusion.paths import LinearSchedule
from dit_toolkit.diffusion.schedule import Schedule
from dit_toolkit.diffusion.steps import SPACINGS, chosen, shifted, spaced
from dit_toolkit.objectives.ddpm import DDPM

TRAINED, LINE = DDPM().schedule, LinearSchedule()
COSINE = DDPM(beta_schedule="squared-cosine").schedule


class Circle(Schedule):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2); no closed form of its own for the time of a log-SNR."""

    def alpha(self, t):
        return np.cos(math.pi / 2 * t)

    def sigma(self, t):
        return np.sin(math.pi / 2 * t)

    def alpha_prime(self, t):
        return -math.pi / 2 * self.sigma(t)

    def sigma_prime(self, t):
        return math.pi / 2 * self.alpha(t)


def steps_of(times, total=1000):
    """The trained steps of a list, rising; they must be whole."""
    steps = np.array(times[:-1])[::-1] * total - 1
    np.testing.assert_allclose(steps, steps.round(), atol=1e-9)
    return steps.round().astype(int).tolist()


def ratios_of(schedule, times):
    t = np.array(times[1:-1])
    return schedule.sigma(t) / schedule.alpha(t)


def test_250_of_1000_steps():
    steps = steps_of(spaced(TRAINED, 250))
    assert (steps[:4], steps[-2:], len(set(steps))) == ([0, 4, 8, 12], [995, 999], 250)
    assert steps == steps_of(chosen(TRAINED, "250"))


@pytest.mark.parametrize("n", [1, 2, 3, 31, 999, 1000])
def test_uniform_steps_are_the_nearest_to_an_even_stride(n):
    steps = steps_of(spaced(TRAINED, n))
    assert steps == [round(i * 999 / (n - 1)) for i in range(n)] if n > 1 else steps == [999]


def test_counts_of_equal_sections_are_guided_diffusions():
    steps = steps_of(chosen(TRAINED, "10,15,20"))
    sections = [[s for s in steps if low <= s < high] for low, high in ((0, 334), (334, 667), (667, 1000))]
    assert [len(section) for section in sections] == [10, 15, 20]
    assert [(section[0], section[-1]) for section in sections] == [(0, 333), (334, 666), (667, 999)]
    assert sections[0] == [round(i * 333 / 9) for i in range(10)]
    assert steps_of(chosen(TRAINED, "2,1")) == [0, 499, 999]  # one step of a section is its noisiest


def test_counts_on_a_continuum_are_even_in_each_section():
    assert chosen(LINE, "1,2,2") == pytest.approx([1, 5 / 6, 2 / 3, 1 / 2, 1 / 3, 0])
    assert chosen(LINE, "4") == spaced(LINE, 4) == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("n", [10, 25, 30, 50, 999])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_leading_and_trailing_are_diffusers(n, spacing):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(timestep_spacing=spacing)
    theirs.set_timesteps(n)
    assert steps_of(spaced(TRAINED, n, spacing)) == theirs.timesteps.flip(0).tolist()


def test_explicit_steps_and_times():
    assert chosen(TRAINED, [999, 499, 0]) == [1.0, 0.5, 0.001, 0.0]
    assert chosen(LINE, (1, 0.25)) == [1.0, 0.25, 0.0]


@pytest.mark.parametrize(
    ("schedule", "timesteps", "message"),
    [
        (TRAINED, [1000, 3], "timesteps: 1000 must be a trained step, 0 to 999"),
        (TRAINED, [5.5], "timesteps: 5.5 must be"),
        (TRAINED, [-1], "timesteps: -1 must be"),
        (TRAINED, [3, 7], "timesteps: times must fall, .*0.004 is followed by 0.008"),
        (TRAINED, [3, 3], "timesteps: times must fall"),
        (TRAINED, "10,501", "timesteps: 501 steps in a section of 500 of the 1000"),
        (LINE, [1.5], "timesteps: the first must be 1, where the noise is, got 1.5"),
        (LINE, [1, 0.5, 0], "timesteps: times must fall, .*0 is followed by 0"),
        (LINE, [1, math.nan], "timesteps: times must fall"),
    ],
)
def test_impossible_timesteps_are_refused(schedule, timesteps, message):
    with pytest.raises(ValueError, match=message):
        chosen(schedule, timesteps)


def test_karras_formula():
    n, i = 20, np.arange(1, 20)
    least, most = TRAINED.ratio_range
    for rho in (7.0, 3.0):
        right = (most ** (1 / rho) + i / (n - 1) * (least ** (1 / rho) - most ** (1 / rho))) ** rho
        np.testing.assert_allclose(ratios_of(TRAINED, spaced(TRAINED, n, "karras", rho)), right, rtol=1e-9)


def test_karras_is_diffusers():
    from diffusers import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(use_karras_sigmas=True, beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # their numpy
        theirs.set_timesteps(15)
    ours = spaced(TRAINED, 15, "karras")
    t = np.array(ours[:-1])
    np.testing.assert_allclose(TRAINED.sigma(t) / TRAINED.alpha(t), theirs.sigmas[:-1], rtol=5e-4)  # their float32


@pytest.mark.parametrize("schedule", [TRAINED, COSINE, LINE, Circle()], ids=["trained", "cosine", "line", "circle"])
def test_log_snr_is_even(schedule):
    times = spaced(schedule, 30, "log-snr")
    gaps = np.diff(schedule.log_snr(np.array(times[1:-1])))
    np.testing.assert_allclose(gaps, 2 * np.log(schedule.ratio_range[1] / schedule.ratio_range[0]) / 29, rtol=1e-6)
    ratios = ratios_of(schedule, times)
    assert ratios[-1] == pytest.approx(schedule.ratio_range[0])


def test_quadratic_is_even_in_the_root_of_time():
    gaps = np.diff(np.sqrt(spaced(TRAINED, 30, "quadratic")[:-1]))
    np.testing.assert_allclose(gaps, gaps[0])


@settings(deadline=None)
@given(
    n=st.integers(1, 1000),
    spacing=st.sampled_from([*SPACINGS]),
    schedule=st.sampled_from([TRAINED, COSINE, LINE, Circle()]),
)
def test_every_list_falls_from_the_highest_time_to_zero(n, spacing, schedule):
    if schedule.num_timesteps is None and spacing in ("leading", "trailing"):
        with pytest.raises(ValueError, match=f"spacing '{spacing}' needs an objective of trained steps"):
            spaced(schedule, n, spacing)
        return
    times = spaced(schedule, n, spacing)
    assert len(times) == n + 1
    assert times[-1] == 0
    assert all(t > s for t, s in pairwise(times))
    assert times[0] == 1 or spacing == "leading"
    if schedule.num_timesteps:
        assert times[-2] >= 0.001 - 1e-12


@pytest.mark.parametrize("schedule", [TRAINED, COSINE, LINE, Circle()], ids=["trained", "cosine", "line", "circle"])
def test_the_time_of_a_log_snr_is_its_inverse(schedule):
    t = np.concatenate([np.geomspace(1e-5, 0.1, 50), np.linspace(0.1, 0.999, 300)])
    np.testing.assert_allclose(schedule.time_of_log_snr(schedule.log_snr(t)), t, rtol=1e-9)
    assert float(schedule.time_of_log_snr(float(schedule.log_snr(0.3)))) == pytest.approx(0.3, rel=1e-12)
    assert schedule.time_of_log_snr(np.array([np.inf, 200.0, -200.0])) == pytest.approx([0, 0, 1], abs=1e-20)


@pytest.mark.parametrize("schedule", [LINE, Circle()])
def test_shift_multiplies_sigma_over_alpha(schedule):
    times = spaced(schedule, 10)
    moved = shifted(schedule, times, 3.0)
    np.testing.assert_allclose(ratios_of(schedule, moved), 3 * ratios_of(schedule, times))
    assert (moved[0], moved[-1]) == (1, 0)
    assert shifted(schedule, times, 1.0) == times


def test_shift_is_esser_et_als_equation_23_and_diffusers():
    from diffusers import FlowMatchEulerDiscreteScheduler

    times = spaced(LINE, 10)
    moved = shifted(LINE, times, 3.0)
    assert moved == pytest.approx([3 * t / (1 + 2 * t) for t in times], rel=1e-15)
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(sigmas=times[:-1])
    np.testing.assert_allclose(moved, theirs.sigmas.numpy(), rtol=1e-6)


def test_shift_is_refused_where_it_has_no_meaning():
    with pytest.raises(ValueError, match=r"shift \(3\) needs an objective of continuous time"):
        shifted(TRAINED, spaced(TRAINED, 5), 3.0)
    with pytest.raises(ValueError, match=r"shift \(9\): times must fall"):
        shifted(LINE, [0.5, 0.4, 0.0], 9.0)


def test_an_unknown_spacing_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no spacing 'even'; there are uniform, .*log-snr"):
        spaced(LINE, 3, "even")
