import numpy as np
import pytest

from dit_toolkit.datasets.synthetic import Synthetic
from dit_toolkit.errors import DataError, RecipeError
from dit_toolkit.recipe.structure import structure


def test_latents_are_standard_normal_and_images_uniform():
    latents = Synthetic().open_latents("train", (4, 32, 32)).batch(np.arange(16))[0]
    assert latents.shape == (16, 4, 32, 32)
    assert abs(latents.mean()) < 0.02
    assert abs(latents.std() - 1) < 0.02
    images = Synthetic(latents=False, image_size=(32, 48)).open("train").batch(np.arange(16))[0]
    assert images.shape == (16, 3, 32, 48)
    assert abs(images.std() - 3**-0.5) < 0.01
    assert images.abs().max() <= 1


def test_splits_differ_and_labels_come_in_turn():
    dataset = Synthetic(num_classes=3, num_images=7)
    train, val = (dataset.open_latents(name, (1, 2, 2)) for name in ("train", "val"))
    assert not (train.batch(np.array([0]))[0] == val.batch(np.array([0]))[0]).any()
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("size", [0, (32, 0), 70_000])
def test_sizes_out_of_range_are_refused(size):
    with pytest.raises(ValueError, match=r"'image_size' must be 1 to 65536"):
        Synthetic(image_size=size)


def test_a_dataset_of_images_has_no_latents():
    from dit_toolkit.datasets.fashion import Fashion

    with pytest.raises(DataError, match="dataset 'fashion' holds images, no latents"):
        Fashion().open_latents("train", (4, 4, 4))


def test_the_options_of_a_recipe():
    assert structure({"image_size": [64, 32]}, Synthetic).shape == (3, 64, 32)
    with pytest.raises(RecipeError, match="channels"):
        structure({"channels": 2}, Synthetic)
