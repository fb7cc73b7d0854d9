import pytest
import torch

from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.diffusion.guidance import guide
from dit_toolkit.objectives.ddpm import DDPM


class Network:
    """Noise = label, so that the null class 9 and class c give known answers; the variance half is the label too."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t, y):
        self.calls.append(len(x))
        return y.view(-1, 1, 1, 1).to(x).expand(-1, 2 * x.shape[1], *x.shape[2:])


def denoise(scale, channels=None, t=0.4):
    network, x = Network(), torch.randn(2, 3, 2, 2)
    denoiser = LabelledDenoiser(network, DDPM(), torch.tensor([1, 4]))
    return network, x, guide(denoiser, null=9, scale=scale, channels=channels)(x, t)


def test_guidance_is_a_line_through_null_and_class():
    network, _, prediction = denoise(3.0)
    assert network.calls == [4]  # both passes in one batch
    for row, label in enumerate((1, 4)):
        torch.testing.assert_close(prediction.eps[row], torch.full((3, 2, 2), 9 + 3.0 * (label - 9)))


def test_scale_one_makes_one_pass():
    network, _, prediction = denoise(1.0)
    assert network.calls == [2]
    torch.testing.assert_close(prediction.eps[0], torch.ones(3, 2, 2))


def test_scale_zero_is_the_null_class():
    _, _, prediction = denoise(0.0)
    torch.testing.assert_close(prediction.eps, torch.full((2, 3, 2, 2), 9.0))


def test_all_forms_stay_consistent():
    _, x, prediction = denoise(2.5)
    schedule = DDPM().schedule
    alpha, sigma = float(schedule.alpha(0.4)), float(schedule.sigma(0.4))
    torch.testing.assert_close(alpha * prediction.x0 + sigma * prediction.eps, x, rtol=1e-4, atol=1e-4)
    velocity = float(schedule.alpha_prime(0.4)) * prediction.x0 + float(schedule.sigma_prime(0.4)) * prediction.eps
    torch.testing.assert_close(prediction.velocity, velocity, rtol=1e-4, atol=1e-3)


def test_only_the_first_channels_can_be_guided():
    _, _, prediction = denoise(2.0, channels=2)
    assert torch.equal(prediction.eps[0, :, 0, 0], torch.tensor([9 + 2.0 * (1 - 9)] * 2 + [1.0]))


def test_the_variance_is_never_guided():
    _, _, prediction = denoise(5.0)
    torch.testing.assert_close(prediction.variance_fraction[0], torch.full((3, 2, 2), 1.0))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_guided_denoisers_know_schedule_and_times(scale):
    denoiser = guide(LabelledDenoiser(Network(), DDPM(), torch.tensor([1])), null=9, scale=scale)
    assert denoiser.times(4) == DDPM().times(4)
    assert float(denoiser.schedule.alpha(0.0)) == 1
