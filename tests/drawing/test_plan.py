"""What a picture of models shows, and where."""

import numpy as np
import pytest

from dit_toolkit import RecipeError
from dit_toolkit.drawing.draw import sample
from dit_toolkit.drawing.plan import of_classes
from dit_toolkit.grids.sheet import Sheet, grid
from dit_toolkit.images import read_npz, to_uint8
from dit_toolkit.samplers.adaptive_ode import AdaptiveODE
from dit_toolkit.sampling import labels_of
from tests.drawing.models import random_model, settings


def columns_of(plan, count):
    """Pixels of the columns of each side."""
    sheet, picture = Sheet(plan.layout, (32, 32)), np.asarray(plan.still())
    width = len(sheet.left) // count
    return [
        picture[sheet.top :, sheet.left[i] : sheet.left[i + width - 1] + 96] for i in range(0, width * count, width)
    ]


def test_a_picture_of_a_run_is_that_of_its_samples(tmp_path):
    trained = settings(random_model(), labels=[2, 7, 5], num_samples=12, batch_size=5)
    sample(trained, tmp_path / "a.npz")
    expected = grid(read_npz(tmp_path / "a.npz"), labels_of(trained.recipe), trained.class_names, 4)
    assert of_classes([("", trained)], [2, 7, 5], nrow=4).still().tobytes() == expected.tobytes()


def test_the_same_model_twice_gives_equal_columns_and_another_one_others():
    one, other = random_model(), random_model(seed=1)
    plan = of_classes([("a", one), ("b", one), ("c", other)], [1, 4], nrow=6)
    first, second, third = columns_of(plan, 3)
    np.testing.assert_array_equal(first, second)
    assert first.shape == third.shape
    assert not np.array_equal(first, third)
    assert [head.text for head in plan.layout.heads] == ["a", "b", "c"]
    alone = of_classes([("", other)], [1, 4], nrow=2)
    np.testing.assert_array_equal(columns_of(alone, 1)[0], third)


def test_values_of_an_option_share_the_noise_and_the_labels():
    trained = random_model()
    sides = [(str(scale), settings(trained, cfg_scale=scale)) for scale in (1.0, 4.0)]
    plan = of_classes(sides, [3, 8], nrow=4)
    for part, (_, side) in zip(plan.parts, sides, strict=True):
        assert part.labels.tolist() == [3, 8, 3, 8]
        assert part.index.tolist() == [0, 1, 2, 3]
        assert part.trained.recipe.sample.cfg_scale == side.recipe.sample.cfg_scale
    assert plan.layout.places.tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_a_class_given_twice_is_drawn_once_and_more_images_than_a_row_go_on_below():
    plan = of_classes([("", random_model())], [3, 8, 3], nrow=2, per_class=3)
    assert plan.layout.places.tolist() == [[0, 2], [4, -1], [1, 3], [5, -1]]
    assert len(plan.parts[0].labels) == 6


@pytest.mark.parametrize("batch", [2, 8])
@pytest.mark.parametrize(("limit", "count"), [(2, 2), (4, 4), (30, 6)])
def test_frames_are_the_predictions_and_the_last_is_the_still_picture(batch, limit, count):
    trained = settings(random_model(), batch_size=batch)
    plan = of_classes([("", trained)], [1, 4], nrow=2)
    frames = plan.frames(limit)
    assert len(frames) == count  # Heun's method with 3 steps calls the network 5 times.
    assert frames[-1].tobytes() == plan.still().tobytes()
    assert len({frame.tobytes() for frame in frames}) >= count - 1  # its last call predicts what is drawn
    seen = trained.sample([1, 4, 1, 4], trajectory=True)
    first = plan._sheet(to_uint8(seen[0])).draw(to_uint8(seen[0]))
    difference = np.abs(np.asarray(first).astype(int) - np.asarray(frames[0]))
    assert difference.max() <= 1


def test_samplers_that_find_their_own_steps_move_too():
    trained = settings(random_model(), batch_size=1, sampler=AdaptiveODE(rtol=0.1, atol=0.1))
    frames = of_classes([("", trained)], [1, 4], nrow=1).frames(7)
    assert 2 < len(frames) <= 7


def test_models_that_cannot_be_beside_each_other():
    other = random_model("dataset.image_size=28", "model.patchifier.patch_size=4")
    with pytest.raises(RecipeError) as error:
        of_classes([("run a", random_model()), ("run b", other)], [1])
    assert error.value.lines == (
        "run b: its images are (1, 28, 28) (channels, height, width), those of run a (1, 32, 32)",
    )


def test_faults_of_settings_are_told_before_anything_is_drawn():
    bare = random_model("model.class_dropout_prob=0.0", "sample.cfg_scale=1.0")
    with pytest.raises(RecipeError, match="class_dropout_prob"):
        of_classes([("", settings(bare, cfg_scale=2.0))], [1])
