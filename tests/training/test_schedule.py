"""Learning rates against their closed forms."""

import math

import pytest

from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.schema import Train
from dit_toolkit.recipe.structure import structure
from dit_toolkit.training.schedule import learning_rate


def rates(**options):
    settings = structure({"max_steps": 100, "global_batch_size": 1, "lr": 2.0, **options}, Train)
    return [learning_rate(settings, step) for step in range(101)]


def test_constant():
    assert rates() == [2.0] * 101


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "wsd"])
def test_the_warm_up_is_linear_ends_at_lr_and_never_gives_a_step_of_0(schedule):
    decay = {"lr_decay_steps": 10} if schedule == "wsd" else {}
    found = rates(lr_schedule=schedule, lr_warmup_steps=20, **decay)
    assert found[:20] == pytest.approx([2.0 * (step + 1) / 20 for step in range(20)])
    assert found[20] == 2.0
    assert min(found[:100]) > 0


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_linear_and_cosine_go_down_to_their_end(end):
    share = [step / 80 for step in range(81)]
    linear = rates(lr_schedule="linear", lr_warmup_steps=20, lr_end_share=end)
    assert linear[20:] == pytest.approx([2.0 * (1 - (1 - end) * u) for u in share])
    cosine = rates(lr_schedule="cosine", lr_warmup_steps=20, lr_end_share=end)
    assert cosine[20:] == pytest.approx([end * 2 + (1 - end) * (1 + math.cos(math.pi * u)) for u in share])
    assert linear[100] == pytest.approx(2.0 * end)
    assert cosine[100] == pytest.approx(2.0 * end)


@pytest.mark.parametrize("end", [0.0, 0.1])
def test_wsd_is_constant_until_its_last_steps(end):
    found = rates(lr_schedule="wsd", lr_warmup_steps=10, lr_decay_steps=25, lr_end_share=end)
    assert found[10:76] == [2.0] * 66
    share = [step / 25 for step in range(26)]
    assert found[75:] == pytest.approx([2.0 * (end + (1 - end) * (1 - math.sqrt(u))) for u in share])


def test_wsd_of_a_longer_run_is_the_same_until_the_shorter_one_decays():
    short = rates(lr_schedule="wsd", lr_decay_steps=20)
    longer = rates(lr_schedule="wsd", lr_decay_steps=20, max_steps=200)
    assert short[:81] == longer[:81]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_schedule": "wsd"}, "lr_decay_steps is missing, which lr_schedule 'wsd' needs"),
        ({"lr_decay_steps": 5}, "lr_decay_steps belongs to lr_schedule 'wsd', not to 'constant'"),
        (
            {"lr_schedule": "wsd", "lr_decay_steps": 90, "lr_warmup_steps": 11},
            r"\(90\) and lr_warmup_steps \(11\).*100",
        ),
        ({"lr_end_share": 0.5}, r"lr_end_share \(0\.5\) needs an lr_schedule that goes down, not 'constant'"),
        ({"lr_end_share": 1.5}, "lr_end_share: must be <= 1, got 1.5"),
        ({"lr_schedule": "cosin"}, "did you mean 'cosine'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, message):
    with pytest.raises(RecipeError, match=message):
        rates(**options)
