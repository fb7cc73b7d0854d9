import numpy as np
import pytest
import torch

from dit_toolkit.objectives.flow_matching import FlowMatching
from dit_toolkit.random import Generator


def test_the_oracle_has_no_loss():
    x0, noise, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0.0, 0.3, 1.0])
    loss = FlowMatching().loss(lambda x, t, y: noise - x0, x0, None, noise=noise, t=t)
    assert torch.equal(loss, torch.zeros(3))


def test_loss_of_an_untrained_network_is_the_power_of_noise_and_data():
    x0 = torch.full((4000, 1, 8, 8), 0.5)
    loss = FlowMatching().loss(lambda x, t, y: 0 * x, x0, None, generator=Generator(0, "t", range(4000)))
    assert float(loss.mean()) == pytest.approx(1.25, abs=0.02)


def test_network_sees_a_point_on_the_line_and_a_thousandfold_time():
    seen = []
    x0, noise = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    FlowMatching().loss(lambda *a: seen.append(a) or a[0], x0, None, noise=noise, t=torch.tensor([0.25]))
    assert float(seen[0][0].mean()) == 0.25
    assert float(seen[0][1]) == 250


def test_prediction_is_consistent():
    objective, x0, eps = FlowMatching(), torch.randn(2, 1, 2, 2).double(), torch.randn(2, 1, 2, 2).double()
    for t in (0.25, torch.tensor([0.25, 0.25])):
        prediction = objective.predict(eps - x0, 0.75 * x0 + 0.25 * eps, t)
        torch.testing.assert_close(prediction.x0, x0)
        torch.testing.assert_close(prediction.eps, eps)
        torch.testing.assert_close(prediction.velocity, eps - x0)


def test_schedule_is_the_straight_line():
    schedule, t = FlowMatching().schedule, np.linspace(0, 1, 5)
    np.testing.assert_allclose(schedule.alpha(t) + schedule.sigma(t), 1)
    assert (schedule.alpha_prime(t) == -1).all()
    assert (schedule.sigma_prime(t) == 1).all()


def test_times_fall_evenly_and_shift_to_noise():
    assert FlowMatching().times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert FlowMatching(shift=3.0).times(2) == [1.0, pytest.approx(0.75), 0.0]
    with pytest.raises(ValueError, match=r"num_steps \(0\)"):
        FlowMatching().times(0)


@pytest.mark.parametrize(("options", "median"), [({}, 0.5), ({"time_sampling": "logit-normal", "shift": 3.0}, 0.75)])
def test_drawn_times_have_their_median(options, median):
    seen = []
    FlowMatching(**options).loss(
        lambda x, t, y: seen.append(t / 1000) or x,
        torch.zeros(4000, 1, 1, 1),
        None,
        generator=Generator(0, "t", range(4000)),
    )
    assert seen[0].min() > 0
    assert seen[0].max() < 1
    assert float(seen[0].median()) == pytest.approx(median, abs=0.02)


def test_data_as_target_is_the_same_loss_and_prediction():
    """A network that returns x0 has the velocity (x - x0) / t, so the oracle of either has no loss."""
    objective = FlowMatching(target="x0")
    x0, noise, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0.01, 0.3, 1.0])
    assert float(objective.loss(lambda *_: x0, x0, None, noise=noise, t=t).max()) == 0
    wrong = objective.loss(lambda *_: x0 + 0.1, x0, None, noise=noise, t=t)
    torch.testing.assert_close(wrong, (0.1 / t.clamp(min=0.05)) ** 2, rtol=1e-3, atol=0)
    x = 0.75 * x0 + 0.25 * noise
    prediction = objective.predict(x0, x, 0.25)
    torch.testing.assert_close(prediction.x0, x0)
    torch.testing.assert_close(prediction.velocity, noise - x0, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", ["linear", "gvp", "vp"])
def test_the_loss_is_the_velocitys_whatever_the_target(path):
    """A change of the output by which the velocity changes by d costs d^2, where the weight is not held."""
    x0, noise = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 1, 4, 4).double()
    for target in ("velocity", "x0", "epsilon", "score"):
        objective, t = FlowMatching(path=path, target=target), 0.6
        schedule = objective.schedule
        x = float(schedule.alpha(t)) * x0 + float(schedule.sigma(t)) * noise
        output = torch.randn(1, 1, 4, 4).double()
        velocity = float(schedule.alpha_prime(t)) * x0 + float(schedule.sigma_prime(t)) * noise
        given = {"noise": noise, "t": torch.tensor([t], dtype=torch.float64)}
        loss = objective.loss(lambda *_, output=output: output, x0, None, **given)
        right = (objective.predict(output, x, t).velocity - velocity).square().mean()
        assert float(loss) == pytest.approx(float(right), rel=1e-9)


def test_no_weight_is_above_400():
    t = np.array([0.001, 0.02, 0.5, 0.99, 0.999])
    assert FlowMatching(target="x0").weight(t) == pytest.approx([400, 400, 4, 0.99**-2, 0.999**-2])
    assert FlowMatching(target="epsilon").weight(t) == pytest.approx([0.999**-2, 0.98**-2, 4, 400, 400])
    assert FlowMatching(target="x0").weight(np.array([0.0])).tolist() == [400]
    assert (FlowMatching(target="x0", weighting="uniform").weight(t) == 1).all()


def test_targets_that_divide_keep_away_from_the_end():
    assert FlowMatching(target="epsilon").times(2) == [0.999, 0.4995, 0.0]
    assert FlowMatching(target="x0").times(2) == [1.0, 0.5, 0.0]
    ends = [(s.lowest, s.highest) for s in (FlowMatching(target=t).schedule for t in ("velocity", "score"))]
    assert ends == [(0, 1), (0.001, 0.999)]
    assert FlowMatching(path="vp").schedule.lowest == 1e-5


def test_the_vp_path_takes_no_shift():
    with pytest.raises(ValueError, match=r"shift \(2\) needs path 'linear' or 'gvp'"):
        FlowMatching(path="vp", shift=2.0)


def test_logit_normal_has_its_mean_and_deviation():
    seen = []
    FlowMatching(time_sampling="logit-normal", logit_mean=-0.8, logit_std=0.5).loss(
        lambda x, t, y: seen.append(t / 1000) or x,
        torch.zeros(4000, 1, 1, 1),
        None,
        generator=Generator(0, "t", range(4000)),
    )
    logits = seen[0].double().logit()
    assert float(logits.mean()) == pytest.approx(-0.8, abs=4 * 0.5 / 4000**0.5)
    assert float(logits.std()) == pytest.approx(0.5, rel=4 / 8000**0.5)


def test_shift_in_training_multiplies_sigma_over_alpha():
    for path in ("linear", "gvp"):
        plain, moved = FlowMatching(path=path), FlowMatching(path=path, shift=3.0)
        u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
        levels = [plain.schedule.log_snr(objective.drawn(u).numpy()) for objective in (plain, moved)]
        np.testing.assert_allclose(levels[0] - levels[1], 2 * np.log(3), rtol=1e-9)
