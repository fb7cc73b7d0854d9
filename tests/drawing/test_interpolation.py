"""Images between classes."""

import attrs
import pytest
import torch

from dit_toolkit import RecipeError
from dit_toolkit.drawing.interpolation import of_interpolation
from tests.drawing.models import BLOCKS, random_model, settings


def drawn(part):
    return part.trained.sample(part.labels, index=part.index, guide=part.guide)


def plain(trained, part, label):
    """What the model itself draws of one class with the noise of a part, in batches of the same size."""
    return trained.sample([label] * len(part.labels), index=part.index)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_classes_of_the_chain_are_themselves_bit_for_bit(block, scale):
    trained = settings(random_model(f"model.block={{kind='{block}'}}"), cfg_scale=scale)
    [part] = of_interpolation(trained, [3, 7, 9], nrow=7, rows=2).parts
    images = drawn(part).unflatten(0, (2, 7))
    for column, label in ((0, 3), (3, 7), (6, 9)):
        assert torch.equal(images[:, column], plain(trained, part, label).unflatten(0, (2, 7))[:, column])
    for one, next_ in zip(range(6), range(1, 7), strict=True):
        assert not torch.equal(images[:, one], images[:, next_])


def test_a_class_between_equal_classes_is_that_class():
    trained = settings(random_model(), cfg_scale=3.0)
    [part] = of_interpolation(trained, [4, 4], nrow=5, rows=2).parts
    assert torch.equal(drawn(part), plain(trained, part, 4))


def test_embeddings_are_on_the_line_between_two_classes_and_all_others_stay():
    trained = random_model()
    plan = of_interpolation(trained, [3, 7], nrow=5, rows=2)
    model, table = plan.parts[0].trained.model, trained.model.label_embed.weight
    rows = model.label_embed.weight
    torch.testing.assert_close(
        rows[11:], torch.stack([table[3] + w * (table[7] - table[3]) for w in (0.25, 0.5, 0.75)])
    )
    assert torch.equal(rows[:11], table)
    assert table.shape == (11, 16)
    assert plan.parts[0].labels.tolist() == [3, 11, 12, 13, 7] * 2
    assert plan.parts[0].index.tolist() == [0] * 5 + [1] * 5
    assert [head.text for head in plan.layout.heads] == ["Dress", "", "", "", "Sneaker"]
    own, shared = (dict(each.named_parameters()) for each in (trained.model, model))
    assert all(own[name] is shared[name] for name in own if not name.startswith("label_embed"))


def test_without_a_null_class():
    trained = settings(random_model("model.class_dropout_prob=0.0", "sample.cfg_scale=1.0"), cfg_scale=1.0)
    [part] = of_interpolation(trained, [3, 7], nrow=4, rows=1).parts
    assert part.labels.tolist() == [3, 10, 11, 7]
    assert torch.equal(drawn(part)[-1], plain(trained, part, 7)[-1])


def test_a_guide_is_asked_for_the_same_point(monkeypatch):
    """A guide that is the model itself changes nothing, at a class or between two."""
    trained = random_model()
    guided = settings(trained, cfg_scale=5.0, guide="itself")
    monkeypatch.setattr("dit_toolkit.sampling.load", lambda path, *, device: trained)
    [part] = of_interpolation(guided, [3, 7], nrow=4, rows=1).parts
    [bare] = of_interpolation(settings(trained, cfg_scale=1.0), [3, 7], nrow=4, rows=1).parts
    torch.testing.assert_close(drawn(part), drawn(bare), rtol=1e-3, atol=1e-3)


def test_in_bf16():
    trained = settings(random_model(), cfg_scale=2.0, precision="bf16")
    [part] = of_interpolation(trained, [3, 7], nrow=3, rows=1).parts
    assert torch.equal(drawn(part)[0], plain(trained, part, 3)[0])


@pytest.mark.parametrize(
    ("chain", "nrow", "message"),
    [([3], 10, "at least two classes, such as 3,7"), ([1, 2, 3, 4], 3, "4 classes do not fit into a row of 3 images")],
)
def test_chains_that_cannot_be(chain, nrow, message):
    with pytest.raises(RecipeError, match=f"interpolate: .*{message}"):
        of_interpolation(random_model(), chain, nrow=nrow)


def test_only_a_dit_has_class_embeddings():
    with pytest.raises(TypeError, match="only a DiT has class embeddings; seen function"):
        of_interpolation(attrs.evolve(random_model(), model=lambda x, t, y: x), [1, 2])
