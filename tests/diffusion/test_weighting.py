import numpy as np
import pytest

from dit_toolkit.objectives.ddpm import DDPM

T = np.arange(1, 1001) / 1000


def snr_of(objective):
    return (objective.schedule.alpha(T) / objective.schedule.sigma(T)) ** 2


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("x0", lambda snr: np.minimum(snr, 5)),
        ("epsilon", lambda snr: np.minimum(snr, 5) / snr),
        ("v", lambda snr: np.minimum(snr, 5) / (snr + 1)),
    ],
)
def test_min_snr_has_the_form_of_each_target(target, form):
    """Hang et al. 2023, section 3.4, and for v what diffusers' training scripts use."""
    objective = DDPM(target=target, weighting="min-snr")
    np.testing.assert_allclose(objective.weight(T), form(snr_of(objective)), rtol=1e-9)


@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("epsilon", lambda snr: 1 / (1 + snr)),
        ("x0", lambda snr: snr / (1 + snr)),
        ("v", lambda snr: snr / (1 + snr) ** 2),
    ],
)
def test_p2_has_the_form_of_each_target(target, form):
    objective = DDPM(target=target, weighting="p2")
    np.testing.assert_allclose(objective.weight(T), form(snr_of(objective)), rtol=1e-9)


def test_options_of_the_weightings():
    objective = DDPM(weighting="p2", p2_gamma=0.5, p2_k=2.0)
    np.testing.assert_allclose(objective.weight(T), (2 + snr_of(objective)) ** -0.5, rtol=1e-9)
    objective = DDPM(target="x0", weighting="min-snr", min_snr_gamma=1.0)
    assert objective.weight(T).max() == pytest.approx(1, rel=1e-12)


def test_weights_at_zero_terminal_snr_are_finite():
    for target in ("x0", "v"):
        for weighting in ("uniform", "min-snr", "p2"):
            weight = DDPM(target=target, weighting=weighting, zero_terminal_snr=True).weight(T)
            assert np.isfinite(weight).all()
            assert weight[-1] == (weighting == "uniform")
