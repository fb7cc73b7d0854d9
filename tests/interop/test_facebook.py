import argparse
import math

import pytest
import torch
import torch.nn.functional as F

import dit_toolkit as dit
from dit_toolkit.interop import facebook
from dit_toolkit.interop.recipe import recipe_of
from dit_toolkit.nn.embed import sincos_positions
from dit_toolkit.weights import read_weights
from tests.conftest import ROOT
from tests.interop.conftest import inputs, random_model, store, tiny_recipe


def layout(hidden=32, depth=3, channels=4, patch=2, side=4, classes=10, sigma=True, ratio=4):
    """Names and shapes of the release's checkpoints."""
    shapes = {
        "pos_embed": (1, side * side, hidden),
        "x_embedder.proj.weight": (hidden, channels, patch, patch),
        "x_embedder.proj.bias": (hidden,),
        "t_embedder.mlp.0.weight": (hidden, 256),
        "t_embedder.mlp.0.bias": (hidden,),
        "t_embedder.mlp.2.weight": (hidden, hidden),
        "t_embedder.mlp.2.bias": (hidden,),
        "y_embedder.embedding_table.weight": (classes + 1, hidden),
    }
    for n in range(depth):
        for name, rows, columns in (
            ("attn.qkv", 3 * hidden, hidden),
            ("attn.proj", hidden, hidden),
            ("mlp.fc1", ratio * hidden, hidden),
            ("mlp.fc2", hidden, ratio * hidden),
            ("adaLN_modulation.1", 6 * hidden, hidden),
        ):
            shapes[f"blocks.{n}.{name}.weight"] = (rows, columns)
            shapes[f"blocks.{n}.{name}.bias"] = (rows,)
    outputs = patch * patch * channels * (2 if sigma else 1)
    for name, rows in (("linear", outputs), ("adaLN_modulation.1", 2 * hidden)):
        shapes[f"final_layer.{name}.weight"] = (rows, hidden)
        shapes[f"final_layer.{name}.bias"] = (rows,)
    return shapes


def checkpoint(seed=0, **sizes):
    """A checkpoint of random weights with the fixed positions."""
    generator = torch.Generator().manual_seed(seed)
    state = {name: torch.randn(shape, generator=generator) * 0.2 for name, shape in layout(**sizes).items()}
    _, tokens, hidden = state["pos_embed"].shape
    state["pos_embed"] = sincos_positions(hidden, math.isqrt(tokens), math.isqrt(tokens))[None]
    return state


def save(path, content):
    torch.save(content, path)
    return path


def reference(state, x, t, y, *, heads, depth):
    """The DiT of the paper's figure 3, from its formulas, on weights in the release's layout."""
    w = {name: tensor.double() for name, tensor in state.items()}

    def linear(name, z):
        return F.linear(z, w[f"{name}.weight"], w[f"{name}.bias"])

    def modulated(z, shift, scale):
        z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return z * (1 + scale[:, None]) + shift[:, None]

    count, height = len(x), x.shape[-1]
    patch = w["x_embedder.proj.weight"].shape[-1]
    rows = height // patch
    tokens = F.conv2d(x, w["x_embedder.proj.weight"], w["x_embedder.proj.bias"], stride=patch)
    tokens = tokens.flatten(2).transpose(1, 2) + w["pos_embed"]
    angle = t.float()[:, None] * torch.exp(-math.log(10_000) * torch.arange(128).float() / 128)
    time = linear(
        "t_embedder.mlp.2", F.silu(linear("t_embedder.mlp.0", torch.cat([angle.cos(), angle.sin()], 1).double()))
    )
    condition = F.silu(time + w["y_embedder.embedding_table.weight"][y])
    for n in range(depth):
        block = f"blocks.{n}"
        shift, scale, gate, shift2, scale2, gate2 = linear(f"{block}.adaLN_modulation.1", condition).chunk(6, 1)
        qkv = linear(f"{block}.attn.qkv", modulated(tokens, shift, scale))
        q, k, v = qkv.view(count, -1, 3, heads, qkv.shape[-1] // 3 // heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        tokens = tokens + gate[:, None] * linear(f"{block}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", modulated(tokens, shift2, scale2)), approximate="tanh")
        tokens = tokens + gate2[:, None] * linear(f"{block}.mlp.fc2", hidden)
    shift, scale = linear("final_layer.adaLN_modulation.1", condition).chunk(2, 1)
    pixels = linear("final_layer.linear", modulated(tokens, shift, scale))
    return torch.einsum("nrcpqk->nkrpcq", pixels.view(count, rows, rows, patch, patch, -1)).reshape(
        count, -1, height, height
    )


def network(path):
    found = read_weights(path)
    model = dit.build_model(found.recipe)
    model.load_state_dict(found.state)
    return found.recipe, model.double().eval()


def bring_in(source, place, **options):
    return dit.import_model(source, place / "imported.safetensors", format="facebook", **{"num_heads": 4, **options})


@pytest.mark.parametrize("sizes", [{}, {"patch": 4, "side": 2, "sigma": False}, {"classes": 3, "ratio": 2, "depth": 1}])
def test_an_imported_model_is_the_papers(tmp_path, place, sizes):
    state = checkpoint(**sizes)
    recipe, model = network(bring_in(save(tmp_path / "x.pt", state), place))
    x, t, _ = inputs()
    y = torch.arange(5) % (recipe.model.num_classes + 1)
    expected = reference(state, x, t, y, heads=4, depth=recipe.model.depth)
    torch.testing.assert_close(model(x, t, y), expected, rtol=1e-10, atol=1e-10)
    assert recipe.model.num_classes == sizes.get("classes", 10)
    assert recipe.model.patchifier.patch_size == sizes.get("patch", 2)
    assert recipe.objective.learn_sigma == sizes.get("sigma", True)
    assert recipe.model.block.mlp_ratio == sizes.get("ratio", 4)
    assert [p.name for p in place.iterdir()] == ["imported.safetensors"]


def test_xl2_is_recognised_and_has_the_papers_recipe():
    """The real shapes, without the weights."""
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in layout(1152, 28, side=16, classes=1000).items()}
    state["pos_embed"] = sincos_positions(1152, 16, 16)[None]
    found = facebook.foreign(state, "ema", None, "DiT-XL-2-256x256.pt", [])
    autoencoder = {"kind": "kl", "path": "stabilityai/sd-vae-ft-ema", "latent_channels": 4, "downsampling": 8}
    recipe = recipe_of(found, autoencoder=autoencoder, source="DiT-XL-2-256x256.pt")
    assert recipe == dit.load_recipe(ROOT / "recipes/xl2.toml")
    with torch.device("meta"):
        back = facebook.from_ours(dit.build_model(recipe).state_dict(), found.model)
    assert {name: tuple(tensor.shape) for name, tensor in back.items()} == layout(1152, 28, side=16, classes=1000)


@pytest.mark.parametrize(("size", "heads"), [((384, 12), 6), ((768, 12), 12), ((1024, 24), 16), ((2048, 30), 16)])
def test_heads_of_the_papers_sizes(size, heads):
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in layout(*size, side=16).items()}
    state["pos_embed"] = sincos_positions(size[0], 16, 16)[None]
    assert facebook.infer(state, None, "x.pt").num_heads == heads


def test_averaged_weights_of_a_training_checkpoint_are_preferred(tmp_path, place):
    model, ema = checkpoint(1), checkpoint(2)
    args = argparse.Namespace(model="DiT-S/2", num_classes=10, results_dir="results")
    source = save(tmp_path / "x.pt", {"model": model, "ema": ema, "opt": {"state": {}}, "args": args})
    for name, options, kind, state in (("a", {}, "ema", ema), ("b", {"weights": "raw"}, "raw", model)):
        folder = place / name
        folder.mkdir()
        found = read_weights(bring_in(source, folder, **options))
        assert (found.kind, found.recipe.sample.weights) == (kind, kind)
        assert torch.equal(found.state["head.linear.weight"], state["final_layer.linear.weight"])
    del ema["pos_embed"]
    source = save(tmp_path / "y.pt", {"model": model, "args": args})
    with pytest.raises(dit.CheckpointError, match="has no 'ema' in it, which holds the ema weights"):
        bring_in(source, place, weights="ema")


def test_there_and_back_is_bit_equal(tmp_path, place):
    state = checkpoint()
    imported = bring_in(save(tmp_path / "x.pt", state), place)
    exported = dit.export_model(imported, place / "back.pt", format="facebook")
    back = torch.load(exported, weights_only=True)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"patchifier": {"kind": "linear", "patch_size": 2}},
        {"patchifier": {"kind": "conv", "patch_size": 4, "head": "conv-transpose"}},
        {"positions": "learned"},
    ],
)
def test_an_exported_model_computes_the_same(place, model):
    recipe = tiny_recipe(model=model)
    ours = random_model(recipe)
    exported = dit.export_model(store(place / "own.safetensors", recipe, ours), place / "x.pt", format="facebook")
    state = torch.load(exported, weights_only=True)
    expected = reference(state, *inputs(), heads=4, depth=3)
    torch.testing.assert_close(ours.double()(*inputs()), expected, rtol=1e-10, atol=1e-10)
    _, back = network(bring_in(exported, place))
    torch.testing.assert_close(back(*inputs()), expected, rtol=1e-10, atol=1e-10)


def test_other_positions_are_imported_as_learned_ones(tmp_path, place):
    state = checkpoint()
    state["pos_embed"] = state["pos_embed"] * 0.5
    recipe, model = network(bring_in(save(tmp_path / "x.pt", state), place))
    assert recipe.model.positions == "learned"
    expected = reference(state, *inputs(), heads=4, depth=3)
    torch.testing.assert_close(model(*inputs()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_become_float32_with_fixed_positions(tmp_path, place, dtype):
    state = {name: tensor.to(dtype) for name, tensor in checkpoint().items()}
    found = read_weights(bring_in(save(tmp_path / "x.pt", state), place))
    assert found.recipe.model.positions == "sincos"
    assert {tensor.dtype for tensor in found.state.values()} == {torch.float32}
    assert torch.equal(found.state["label_embed.weight"], state["y_embedder.embedding_table.weight"].float())


def test_every_key_that_does_not_fit_is_named(tmp_path, place):
    state = checkpoint()
    del state["blocks.1.attn.proj.bias"]
    state["blocks.2.mlp.fc2.weight"] = torch.zeros(32, 64)
    state["extra.weight"] = torch.zeros(2)
    with pytest.raises(dit.CheckpointError) as error:
        bring_in(save(tmp_path / "x.pt", state), place)
    assert list(error.value.lines[1:]) == [
        "  missing: blocks.1.attn.proj.bias (32,)",
        "  not expected: extra.weight (2,)",
        "  shape: blocks.2.mlp.fc2.weight is (32, 64), expected (32, 128)",
    ]
    state = checkpoint(depth=5)
    for name in [name for name in state if name.startswith("blocks.") and not name.endswith("fc1.weight")]:
        del state[name]
    with pytest.raises(dit.CheckpointError, match=r"45 of its weights(.|\n)*and 25 more"):
        bring_in(save(tmp_path / "y.pt", state), place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pos_embed": None}, "is no DiT of facebookresearch: pos_embed is missing; it has x_embedder.proj.weight"),
        ({"pos_embed": torch.zeros(16, 32)}, r"pos_embed is \(16, 32\)"),
        ({"pos_embed": torch.zeros(1, 15, 32)}, "pos_embed has 15 tokens, which make no square"),
        ({"pos_embed": torch.zeros(1, 16, 8)}, "pos_embed has 8 channels, the model 32"),
        ({"x_embedder.proj.weight": torch.zeros(32, 4, 2, 1)}, "patches of 2 x 1 are not square"),
        (
            {"final_layer.linear.weight": torch.zeros(48, 32)},
            "has 48 outputs; 2 x 2 pixels of 4 channels need 16, or 32 with a learned sigma",
        ),
        ({"step": 7}, "not all of it are tensors of weights: step"),
    ],
)
def test_other_architectures_are_refused(tmp_path, place, change, message):
    state = {name: value for name, value in {**checkpoint(), **change}.items() if value is not None}
    with pytest.raises(dit.CheckpointError, match=message):
        bring_in(save(tmp_path / "x.pt", state), place)
    assert list(place.iterdir()) == []


def test_heads_must_be_known_and_divide(tmp_path, place):
    source = save(tmp_path / "x.pt", checkpoint())
    with pytest.raises(dit.RecipeError, match=r"3 blocks of width 32 are not one of the paper's sizes.*--num-heads"):
        bring_in(source, place, num_heads=None)
    with pytest.raises(dit.CheckpointError, match=r"hidden_size \(32\) is not divisible by num_heads \(5\)"):
        bring_in(source, place, num_heads=5)
    with pytest.raises(dit.CheckpointError, match=r"missing: head\.deconv\.weight"):
        bring_in(source, place, set=["model.patchifier.head=conv-transpose"])
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("tables", "path"),
    [
        ({"model": {"block": {"kind": "adaln"}}}, "model.block.kind: .*'adaln'"),
        ({"model": {"block": {"kind": "in-context"}}}, "model.block.kind: .*'in-context'"),
        ({"model": {"block": {"kind": "adaln-zero", "qk_norm": True}}}, "model.block.qk_norm"),
        ({"model": {"patchifier": {"kind": "conv", "patch_size": [2, 4]}}}, "model.patchifier.patch_size: .*2 x 4"),
        ({"model": {"class_dropout_prob": 0.0}}, "model.class_dropout_prob"),
        ({"objective": {"kind": "flow-matching"}, "sample": {"sampler": {"kind": "heun"}}}, "objective.kind: .*'flow"),
        ({"objective": {"kind": "ddpm", "num_timesteps": 250}}, "objective: .*1000 steps"),
        ({"objective": {"kind": "ddpm", "target": "v"}}, "objective.target: .*'v' is not what these models return"),
        ({"objective": {"kind": "ddpm", "beta_schedule": "sigmoid"}}, "objective: .*1000 steps"),
        (
            {"dataset": {"kind": "latents", "path": "x", "image_size": [64, 32], "num_classes": 10}},
            "dataset: .*8 x 4 are not square",
        ),
    ],
)
def test_what_the_layout_cannot_express_is_refused_by_name(place, tables, path):
    recipe = tiny_recipe(**tables)
    own = store(place / "own.safetensors", recipe, random_model(recipe))
    with pytest.raises(dit.RecipeError, match=path):
        dit.export_model(own, place / "x.pt", format="facebook")
    assert [p.name for p in place.iterdir()] == ["own.safetensors"]
