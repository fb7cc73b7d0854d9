import pytest

from dit_toolkit.errors import RecipeError
from dit_toolkit.recipe.load import override
from dit_toolkit.recipe.sizes import Sizes, sizes
from dit_toolkit.recipe.structure import structure


def test_sizes_follow_from_dataset_autoencoder_patch_and_objective(table):
    assert sizes(structure(table)) == Sizes(
        image=(1, 32, 32), latent=(1, 32, 32), grid=(8, 16), tokens=128, out_channels=2
    )


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        (
            "model.patchifier.patch_size=3",
            "model.patchifier.patch_size: patch_size (3) does not divide the height of the model's input (32)",
        ),
        (
            "model.patchifier.patch_size=[2, 5]",
            "model.patchifier.patch_size: patch_size (5) does not divide the width of the model's input (32)",
        ),
        ("sample.labels=[3, 10, 11]", "sample.labels[1]: must be < 10 (model.num_classes), got 10"),
        (
            "sample.sampler.num_steps=1001",
            "sample.sampler.num_steps: num_steps (1001) is more than num_timesteps (1000)",
        ),
        (
            "model.class_dropout_prob=0",
            "sample.cfg_scale: guidance (1.5) needs the null class, which model.class_dropout_prob = 0 leaves out;"
            " raise that, set cfg_scale = 1 or name a guide",
        ),
        ("sample.cfg_channels=2", "sample.cfg_channels: must be <= 1, the channels of the latent, got 2"),
        (
            "evaluate.metrics=[{kind='distance'},{kind='accuracy'},{kind='distance'}]",
            "evaluate.metrics[2]: is called 'distance', and so is evaluate.metrics[0]; keep one",
        ),
        ("train.micro_batch_size=24", "train.micro_batch_size: (24) does not divide global_batch_size (64)"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_its_path(table, setting, line):
    recipe = structure(override(table, [setting]))
    with pytest.raises(RecipeError) as error:
        sizes(recipe)
    assert error.value.lines == (line,)


def test_everything_that_does_not_fit_is_reported_at_once(table):
    settings = ["model.patchifier.patch_size=3", "model.num_classes=9", "train.micro_batch_size=24"]
    with pytest.raises(RecipeError) as error:
        sizes(structure(override(table, settings)))
    assert [line.split(":")[0] for line in error.value.lines] == [
        "model.patchifier.patch_size",
        "model.num_classes",
        "sample.labels[1]",
        "train.micro_batch_size",
    ]


def test_no_guidance_needs_no_null_class(table):
    assert sizes(structure(override(table, ["model.class_dropout_prob=0", "sample.cfg_scale=1"])))
    assert sizes(structure(override(table, ["model.class_dropout_prob=0", "sample.guide=runs/small"])))
