"""Parameter groups, and the steps of each kind against its formula."""

import sys

import attrs
import pytest
import torch

from dit_toolkit import load_recipe
from dit_toolkit.build import build_model
from dit_toolkit.errors import RecipeError
from dit_toolkit.optimizers import Together, build_optimizer, parameter_groups
from dit_toolkit.recipe.schema import Optimizer
from dit_toolkit.recipe.sizes import sizes
from tests.conftest import ROOT, SMALL

KINDS = ("adamw", "adam", "muon")


def recipe(*changes):
    return load_recipe(ROOT / "recipes/fashion.toml", set=[*SMALL, "train.backend.kind=deepspeed", *changes])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(recipe("model.positions=learned"))


def named(model, **options):
    found = parameter_groups(model, Optimizer(**options))
    return {(group.rule, group.weight_decay): set(group.parameters) for group in found}


def test_one_group_in_the_order_of_the_model_without_decay(model):
    [group] = parameter_groups(model, Optimizer())
    assert list(group.parameters) == [name for name, _ in model.named_parameters()]
    assert group.count == sum(p.numel() for p in model.parameters())
    assert group.moments == 8 * group.count


def test_decay_is_on_matrices_alone_unless_on_all(model):
    groups = named(model, weight_decay=0.1)
    spared = groups["adamw", 0.0]
    assert {"label_embed.weight", "positions"} < spared
    assert all(name.endswith("bias") for name in spared - {"label_embed.weight", "positions"})
    assert groups["adamw", 0.1] == {name for name, _ in model.named_parameters()} - spared
    assert "patch_embed.proj.weight" in groups["adamw", 0.1]
    assert len(named(model, weight_decay=0.1, weight_decay_on="all")) == 1


def test_norms_and_their_scales_do_not_decay():
    plain = build_model(recipe("model.block.kind=in-context"))
    assert "blocks.0.norm1.weight" in named(plain, weight_decay=0.1)["adamw", 0.0]


def test_muon_takes_the_matrices_of_the_blocks(model):
    groups = named(model, kind="muon", weight_decay=0.1)
    assert groups["muon", 0.1] == {
        f"blocks.{block}.{part}.weight"
        for block in (0, 1)
        for part in ("attention.qkv", "attention.proj", "mlp.fc1", "mlp.fc2", "modulation")
    }
    assert {"head.linear.weight", "time_embed.fc1.weight", "final.modulation.weight"} < groups["adamw", 0.1]
    assert "label_embed.weight" in groups["adamw", 0.0]


def test_muon_keeps_one_moment(model):
    muon, rest = parameter_groups(model, Optimizer(kind="muon"))
    if muon.rule != "muon":
        muon, rest = rest, muon
    assert (muon.moments, rest.moments) == (4 * muon.count, 8 * rest.count)


def stepped(model, settings, lr=0.01, steps=3):
    """Weights after steps with gradients drawn from a seed, and the optimizer."""
    copy = build_model(recipe("model.positions=learned"))
    copy.load_state_dict(model.state_dict())
    optimizer = build_optimizer(copy, settings)
    step(copy, optimizer, range(steps), lr)
    return copy, optimizer


def step(model, optimizer, seeds, lr=0.01):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


def test_adamw_and_adam_are_torchs(model):
    for kind, theirs in (("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)):
        settings = Optimizer(kind=kind, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2, weight_decay_on="all")
        ours, _ = stepped(model, settings)
        plain = build_model(recipe("model.positions=learned"))
        plain.load_state_dict(model.state_dict())
        step(plain, theirs(plain.parameters(), betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2), range(3))
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other)


def test_decay_of_matrices_by_its_closed_form(model):
    """AdamW shrinks by 1 - lr decay in each step, whatever the gradient does."""
    plain, _ = stepped(model, Optimizer(), steps=1)
    decayed, _ = stepped(model, Optimizer(weight_decay=0.5), steps=1)
    before, without, with_ = (dict(m.named_parameters()) for m in (model, plain, decayed))
    for name in before:
        matrix = name.endswith("weight") and name != "label_embed.weight"
        expected = without[name] - (0.01 * 0.5 * before[name] if matrix else 0)
        torch.testing.assert_close(with_[name], expected, msg=name)


def test_muons_first_update_has_nearly_equal_singular_values_and_the_rms_of_adamws(model):
    """0.2 of an entry's mean square root, as AdamW's updates have (Liu et al. 2025, section 2.2)."""
    after, _ = stepped(model, Optimizer(kind="muon"), lr=1.0, steps=1)
    update = (after.blocks[0].mlp.fc1.weight - model.blocks[0].mlp.fc1.weight).detach()
    values = torch.linalg.svdvals(update)
    assert float(values.max() / values.min()) < 2
    assert float(update.square().mean().sqrt()) == pytest.approx(0.2, rel=0.2)


def test_momentum_is_muons(model):
    one, other = (stepped(model, Optimizer(kind="muon", momentum=m), steps=2)[0] for m in (0.0, 0.9))
    name = "blocks.0.mlp.fc1.weight"
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])
    assert torch.equal(one.state_dict()["head.linear.weight"], other.state_dict()["head.linear.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_state_saved_and_loaded_goes_on_bit_for_bit(model, kind, tmp_path):
    settings = Optimizer(kind=kind, weight_decay=0.1)
    whole, _ = stepped(model, settings, steps=5)
    half, optimizer = stepped(model, settings, steps=3)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    again = build_optimizer(half, settings)
    again.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    step(half, again, range(3, 5))
    for one, other in zip(whole.parameters(), half.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_whole_has_the_groups_and_the_state_of_its_parts(model):
    _, optimizer = stepped(model, Optimizer(kind="muon", weight_decay=0.1))
    assert isinstance(optimizer, Together)
    assert len(optimizer.param_groups) == 3
    assert len(optimizer.state) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", ["muon", "adamw-8bit"])
def test_what_needs_whole_weights_is_refused_where_zero_cuts_them(kind):
    for stage in (1, 2, 3):
        with pytest.raises(RecipeError, match=rf"train\.optimizer\.kind: '{kind}'.*zero_stage = 0"):
            sizes(recipe(f"train.optimizer.kind={kind}", f"train.backend.zero_stage={stage}"))
    sizes(recipe(f"train.optimizer.kind={kind}", "train.backend.zero_stage=0"))
    sizes(recipe(f"train.optimizer.kind={kind}", "train.backend={kind='single'}"))


def test_8_bits_are_a_library_of_their_own(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RecipeError, match=r"train\.optimizer\.kind: 'adamw-8bit' needs bitsandbytes.*\[8bit\]"):
        build_optimizer(model, Optimizer(kind="adamw-8bit"))


def test_state_of_8_bits_by_its_formula(model):
    """Two bytes and two float32 scales a block; small tensors stay in float32."""
    [group] = parameter_groups(model, Optimizer(kind="adamw-8bit"))
    group = attrs.evolve(group, parameters={"big": torch.empty(5000), "small": torch.empty(4095)})
    assert group.moments == 2 * 5000 + 2 * 4 * 20 + 8 * 4095


@pytest.mark.filterwarnings("ignore")
def test_8_bits_stay_near_adamw(model):
    """Each step is at most about lr, and rounding moves it by a few per cent."""
    pytest.importorskip("bitsandbytes")
    for decay in (0.0, 0.1):
        plain, _ = stepped(model, Optimizer(weight_decay=decay), lr=0.01, steps=3)
        ours, optimizer = stepped(model, Optimizer(kind="adamw-8bit", weight_decay=decay), lr=0.01, steps=3)
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            difference = (one - other).detach().abs()
            assert float(difference.mean()) < 1e-3
            assert (float(difference.max()) == pytest.approx(0, abs=1e-5)) == (one.numel() < 4096)
    assert any(
        t.dtype == torch.uint8 for s in optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("momentum=0.9", "momentum is an option of kind 'muon', not of 'adamw'"),
        ("kind=lion", "kind: expected one of 'adamw', 'adam', 'adamw-8bit', 'muon'"),
        ("betas=[0.9, 1.0]", r"betas.* must be < 1"),
        ("eps=0", "eps: must be > 0"),
        ("weight_decay_on=biases", "expected one of 'matrices', 'all'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(RecipeError, match=rf"train\.optimizer.*{message}"):
        recipe(f"train.optimizer.{change}")


def test_a_single_option_of_the_schema_is_enough():
    assert recipe("train.optimizer.weight_decay=0.1").train.optimizer == attrs.evolve(Optimizer(), weight_decay=0.1)
