import attrs
import pytest
import torch

from dit_toolkit.diffusion.denoiser import LabelledDenoiser
from dit_toolkit.diffusion.guidance import Joint, Separate, guided, rescaled
from dit_toolkit.objectives.ddpm import DDPM
from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator
from dit_toolkit.registry import Registry

LABELS, NULL = torch.tensor([1, 4]), torch.tensor([9, 9])
OBJECTIVES = [DDPM(), FlowMatching(), FlowMatching(target="x0")]


class Network:
    """Output = gain * label + slope * x in every channel, the variance half too; keeps the size of every batch."""

    def __init__(self, objective, gain=1.0, slope=0.0):
        self.twice = objective.out_channels(1) == 2
        self.gain, self.slope, self.batches = gain, slope, []

    def __call__(self, x, t, y):
        self.batches.append(len(x))
        output = self.gain * y.view(-1, 1, 1, 1) + self.slope * x  # (N, C, H, W)
        return torch.cat([output, y.view(-1, 1, 1, 1).expand_as(x)], 1) if self.twice else output


def class_free(objective, joint=True, network=None, labels=LABELS, **options):
    network = network or Network(objective, slope=0.1)
    denoiser = LabelledDenoiser(network, objective, labels)
    null = torch.full_like(labels, 9)
    passes = Joint(denoiser, null) if joint else Separate(denoiser, denoiser.with_labels(null))
    return network, guided(passes, **options)


def noisy():
    return Generator(0, "x", [0, 1]).randn(3, 2, 2)


def forms(prediction):
    return (prediction.x0, prediction.eps, prediction.velocity, prediction.variance_fraction)


@pytest.mark.parametrize("joint", [True, False])
def test_guidance_is_a_line_through_null_and_class(joint):
    network, denoiser = class_free(DDPM(), joint, Network(DDPM()), scale=3.0)
    prediction = denoiser(noisy(), 0.4)
    assert network.batches == ([4] if joint else [2, 2])
    for row, label in enumerate((1, 4)):
        torch.testing.assert_close(prediction.eps[row], torch.full((3, 2, 2), 9 + 3.0 * (label - 9)))


def test_scale_zero_is_the_null_class():
    prediction = class_free(DDPM(), network=Network(DDPM()), scale=0.0)[1](noisy(), 0.4)
    torch.testing.assert_close(prediction.eps, torch.full((2, 3, 2, 2), 9.0))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"scale": 2.5},
        {"scale": 0.0},
        {"scale": 3.0, "channels": 2},
        {"scale": 4.0, "rescale": 0.7},
        {"scale": 4.0, "rescale": 1.0, "channels": 1, "interval": (0.3, 0.5)},
    ],
    ids=str,
)
def test_joint_and_separate_passes_agree_and_all_forms_stay_consistent(objective, options):
    x, schedule = noisy().double(), objective.schedule
    joint, separate = (class_free(objective, joint, **options)[1](x, 0.4) for joint in (True, False))
    torch.testing.assert_close(forms(joint), forms(separate))
    alpha, sigma = float(schedule.alpha(0.4)), float(schedule.sigma(0.4))
    torch.testing.assert_close(alpha * joint.x0 + sigma * joint.eps, x, rtol=1e-5, atol=1e-5)
    velocity = float(schedule.alpha_prime(0.4)) * joint.x0 + float(schedule.sigma_prime(0.4)) * joint.eps
    torch.testing.assert_close(joint.velocity, velocity, rtol=1e-5, atol=1e-5)


def test_only_the_first_channels_can_be_guided():
    prediction = class_free(DDPM(), network=Network(DDPM()), scale=2.0, channels=2)[1](noisy(), 0.4)
    assert torch.equal(prediction.eps[0, :, 0, 0], torch.tensor([9 + 2.0 * (1 - 9)] * 2 + [1.0]))


@pytest.mark.parametrize("joint", [True, False])
def test_the_variance_is_never_guided(joint):
    prediction = class_free(DDPM(), joint, scale=5.0, rescale=0.5)[1](noisy(), 0.4)
    torch.testing.assert_close(prediction.variance_fraction[0], torch.full((3, 2, 2), 1.0))


@pytest.mark.parametrize(("t", "batch"), [(0.2999, 2), (0.3, 4), (0.1 * 3, 4), (0.5, 4), (0.7, 4), (0.7001, 2)])
def test_no_second_pass_outside_the_interval_whose_edges_belong_to_it(t, batch):
    network, denoiser = class_free(FlowMatching(), scale=2.0, interval=(0.3, 0.7))
    x = noisy()
    prediction = denoiser(x, t)
    assert network.batches == [batch]
    plain, everywhere = (class_free(FlowMatching(), scale=scale)[1](x, t) for scale in (1.0, 2.0))
    torch.testing.assert_close(forms(prediction), forms(plain if batch == 2 else everywhere))


@pytest.mark.parametrize("phi", [0.3, 0.7, 1.0])
def test_rescaling_is_the_formula_of_the_paper(phi):
    diffusers = pytest.importorskip("diffusers.guiders.guider_utils")
    _, denoiser = class_free(FlowMatching(), network=Network(FlowMatching(), slope=-1.3), scale=6.0)
    _, plain = class_free(FlowMatching(), network=Network(FlowMatching(), slope=-1.3), scale=1.0)
    x = noisy()
    strong, full = plain(x, 0.6), denoiser(x, 0.6)
    full = attrs.evolve(full, velocity=full.velocity * 1.7 + 0.1)  # a deviation of its own
    found = rescaled(full, strong, phi, FlowMatching().schedule, 0.6).velocity
    torch.testing.assert_close(found, diffusers.rescale_noise_cfg(full.velocity, strong.velocity, guidance_rescale=phi))


def test_rescaling_gives_the_deviation_back_and_a_constant_survives_it():
    x = noisy()
    network = Network(DDPM(), slope=0.5)
    plain, full, back = (
        class_free(DDPM(), network=network, **options)[1](x * scale, 0.4)
        for options, scale in (({"scale": 1.0}, 1), ({"scale": 7.0}, 1), ({"scale": 7.0, "rescale": 1.0}, 1))
    )
    deviations = [p.velocity.flatten(1).std(1) for p in (plain, full, back)]
    torch.testing.assert_close(deviations[2], deviations[0])
    _, flat = class_free(FlowMatching(), network=Network(FlowMatching(), gain=0.0), scale=3.0, rescale=1.0)
    assert torch.equal(flat(x, 0.5).velocity, torch.zeros_like(x))  # as an untrained network has it


def test_a_weaker_network_guides_with_the_class_kept():
    objective, x = FlowMatching(), noisy()
    strong = LabelledDenoiser(Network(objective, gain=2.0), objective, LABELS)
    weak = LabelledDenoiser(Network(objective, gain=1.0), objective, LABELS)
    prediction = guided(Separate(strong, weak), scale=3.0)(x, 0.5)
    torch.testing.assert_close(prediction.velocity[:, 0, 0, 0], LABELS * (1 + 3.0 * (2 - 1)))
    assert (strong.model.batches, weak.model.batches) == ([2], [2])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_model_guided_by_itself_is_itself(objective):
    network, x = Network(objective, slope=0.3), noisy()
    both = [LabelledDenoiser(network, objective, LABELS) for _ in range(2)]
    torch.testing.assert_close(forms(guided(Separate(*both), scale=4.0, rescale=0.7)(x, 0.5)), forms(both[0](x, 0.5)))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_guided_denoisers_know_schedule_and_times(scale):
    for interval in ((0.0, 1.0), (0.2, 0.4)):
        _, denoiser = class_free(DDPM(), scale=scale, interval=interval)
        assert denoiser.times(4) == DDPM().times(4)
        assert float(denoiser.schedule.alpha(0.0)) == 1


@pytest.mark.parametrize("kind", Registry(discover=False).kinds("samplers"))
def test_scale_one_makes_one_pass_and_an_interval_saves_the_second_one_with_every_sampler(kind):
    sampler = Registry(discover=False).resolve("samplers", kind)()
    if sampler.num_steps is not None:
        sampler = attrs.evolve(sampler, num_steps=10)
    objective = next(each for each in (FlowMatching(), DDPM()) if accepts(sampler, each))

    def batches(**options):
        network, denoiser = class_free(objective, network=Network(objective, gain=0.01), **options)
        sampler.sample(denoiser, noisy(), generator=Generator(0, "s", [0, 1]))
        return network.batches

    plain, full, part = batches(scale=1.0), batches(scale=1.5), batches(scale=1.5, interval=(0.3, 0.7))
    assert set(plain) == {2}
    assert set(full) == {4}
    assert set(part) == {2, 4}
    if sampler.num_steps is not None:
        assert len(plain) == len(full) == len(part) <= sampler.calls


def accepts(sampler, objective):
    try:
        sampler.check(objective)
    except ValueError:
        return False
    return True
