import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

import dit_toolkit as dit
from dit_toolkit.interop.architecture import architecture_of
from dit_toolkit.interop.diffusers.names import from_ours
from dit_toolkit.samplers.ddim import DDIMSampler
from dit_toolkit.weights import read_weights
from tests.interop.conftest import inputs, random_model, store, tiny_recipe

MATCHING = {"time_frequencies": "diffusers"}
SHORT = {"num_timesteps": 20, "beta_start": 0.01, "beta_end": 0.3}


def theirs(folder):
    return DiTTransformer2DModel.from_pretrained(folder, low_cpu_mem_usage=False).eval()


def transformer(place, model=MATCHING, seed=0, **tables):
    """A recipe of ours, its random network, and the folder it was exported to."""
    recipe = tiny_recipe(model=model, **tables)
    ours = random_model(recipe, seed)
    own = store(place / "own.safetensors", recipe, ours)
    return recipe, ours, dit.export_model(own, place / "transformer", format="diffusers", autoencoder=False)


def bring_in(source, place, name="imported.safetensors", **options):
    return dit.import_model(source, place / name, format="diffusers", **options)


def network(path, **options):
    found = read_weights(path, **options)
    model = dit.build_model(found.recipe)
    model.load_state_dict(found.state)
    return found.recipe, model.eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "model",
    [
        {},
        {"block": {"kind": "adaln-zero", "gelu": "exact"}, "num_heads": 2},
        {"patchifier": {"kind": "linear", "patch_size": 4, "head": "conv-transpose"}},
    ],
)
def test_the_same_weights_give_the_same_output(place, dtype, model):
    _, ours, folder = transformer(place, {**MATCHING, **model})
    x, t, y = inputs(dtype=dtype)
    expected = theirs(folder).to(dtype)(x, timestep=t, class_labels=y).sample
    error = (ours.to(dtype)(x, t, y) - expected).norm() / expected.norm()
    assert error < (1e-10 if dtype == torch.float64 else 1e-5)
    assert expected.norm() > 1


def test_gradients_and_a_step_of_adamw_agree(place):
    """Their blocks are given one embedder, as ours have."""
    recipe, ours, folder = transformer(place)
    ours, model = ours.double(), theirs(folder).double()
    for block in model.transformer_blocks[1:]:
        block.norm1.emb = model.transformer_blocks[0].norm1.emb
    x, t, y = inputs()
    noise = torch.randn(5, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    outputs = ours(x, t, y), model(x, timestep=t, class_labels=y).sample
    for output, network in zip(outputs, (ours, model), strict=True):
        (output[:, :4] - noise).square().mean().backward()
        torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01).step()

    architecture = architecture_of(recipe, any_schedule=True)
    gradients = from_ours({name: parameter.grad for name, parameter in ours.named_parameters()}, architecture)
    weights = from_ours(ours.state_dict(), architecture)
    seen = dict(model.named_parameters())
    assert len(seen) == 6 + 5 + 3 * 14
    for name, parameter in seen.items():
        gradient = parameter.grad
        assert gradient.norm() > 0, name
        assert (gradients[name] - gradient).norm() <= 1e-10 * gradient.norm() + 1e-14, name
        assert (weights[name] - parameter).abs().max() < 1e-9, name


def test_a_folder_of_theirs_computes_the_same_here(tmp_path, place):
    """Random weights of theirs, in one precision and in files that an index lists."""
    config = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "sample_size": 8, "out_channels": 8}
    model = DiTTransformer2DModel(**config, num_embeds_ada_norm=10, norm_eps=1e-6)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    model.transformer_blocks[1].norm1.emb.load_state_dict(model.transformer_blocks[0].norm1.emb.state_dict())
    model.eval().save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="100KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    x, t, y = inputs()
    expected = model.double()(x, timestep=t, class_labels=y).sample
    for folder in ("whole", "parts"):
        recipe, ours = network(bring_in(tmp_path / folder, place, f"{folder}.safetensors"))
        assert (ours.double()(x, t, y) - expected).norm() <= 1e-10 * expected.norm()
    assert recipe.model.num_classes == 10
    assert recipe.model.time_frequencies == "diffusers"
    assert recipe.autoencoder.path == "stabilityai/sd-vae-ft-ema"


def test_there_and_back_is_bit_equal(place):
    recipe, ours, folder = transformer(place)
    found = read_weights(bring_in(folder, place))
    assert found.recipe.model == recipe.model
    assert found.state.keys() == ours.state_dict().keys()
    assert all(torch.equal(found.state[name], tensor) for name, tensor in ours.state_dict().items())


def test_the_papers_frequencies_are_exported_with_a_warning(place, capsys):
    """The number of the warning is what the embeddings of time differ by."""
    _, ours, folder = transformer(place, {})
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    t = torch.arange(1000)
    embed = theirs(folder).transformer_blocks[0].norm1.emb
    with torch.no_grad():
        mine, other = ours.time_embed(t), embed.timestep_embedder(embed.time_proj(t))
    worst = ((mine - other).norm(dim=1) / mine.norm(dim=1)).max()
    assert f"its embeddings differ by up to {worst:.2g} of their length" in line
    assert worst > 0.01


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A small autoencoder: 4 channels, 8 times smaller."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    folder = tmp_path_factory.mktemp("vae")
    model.save_pretrained(folder)
    return folder


def pipeline(place, vae, *, objective=(), model=MATCHING):
    """A recipe with ten classes, its random network, and the pipeline it was exported to."""
    recipe = tiny_recipe(
        model=model,
        autoencoder={"kind": "kl", "path": str(vae)},
        objective={"kind": "ddpm", **dict(objective)},
        sample={"sampler": {"kind": "ddim", "num_steps": 20}},
    )
    ours = random_model(recipe)
    own = store(place / "own.safetensors", recipe, ours)
    return recipe, ours, dit.export_model(own, place / "pipeline", format="diffusers")


def loaded(folder):
    pipe = DiTPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("sigma", [True, False])
def test_the_stock_pipeline_draws_what_we_draw(place, vae, sigma):
    """Ten classes, so the null class has moved to 1000; all steps, or one, where both have the same."""
    _, _, folder = pipeline(place, vae, objective={**SHORT, "learn_sigma": sigma})
    pipe, labels = loaded(folder), [3, 9, 0]
    for scale, steps in ((3.0, 20), (1.0, 20), (3.0, 1)):
        drawn = pipe(
            labels, guidance_scale=scale, num_inference_steps=steps, generator=torch.manual_seed(5), output_type="pt"
        ).images
        trained = dit.load(place / "own.safetensors")
        noise = torch.randn(3, 4, 8, 8, generator=torch.manual_seed(5))
        denoiser = trained.denoiser(labels, cfg_scale=scale)
        latents = DDIMSampler(num_steps=steps).sample(denoiser, noise)
        expected = (trained.codec.decode(latents) / 2 + 0.5).clamp(0, 1)
        assert expected.std() > 0.01
        torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


def test_a_pipeline_comes_back_with_all_it_had(place, vae):
    recipe, ours, folder = pipeline(place, vae, objective=SHORT)
    table = json.loads((folder / "transformer/config.json").read_text())
    assert table["num_embeds_ada_norm"] == 1000
    assert sorted(loaded(folder).labels.values()) == list(range(10))
    path = bring_in(folder, place)
    found = read_weights(path)
    assert (found.recipe.model, found.recipe.objective) == (recipe.model, recipe.objective)
    assert found.recipe.autoencoder.path == str(folder / "vae")
    assert all(torch.equal(found.state[name], tensor) for name, tensor in ours.state_dict().items())
    images = dit.load(path).sample([1, 2], index=[0, 1])
    assert images.shape == (2, 3, 64, 64)
    assert torch.isfinite(images).all()


@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"num_timesteps": 50, "beta_start": 0.001, "beta_end": 0.3},
        {"num_timesteps": 40, "beta_schedule": "squared-cosine"},
    ],
)
def test_noise_schedules_there_and_back(place, vae, objective):
    recipe, _, folder = pipeline(place, vae, objective=objective)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    torch.testing.assert_close(scheduler.betas.double(), torch.tensor(recipe.objective.betas), rtol=1e-5, atol=1e-8)
    back = read_weights(bring_in(folder, place)).recipe.objective
    assert back == recipe.objective


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "objective: .*its noise schedule has no name in this format"),
        ({"num_timesteps": 20, "trained_betas": [0.1] * 20}, "objective: .*its noise schedule has no name"),
        ({"target": "v", "zero_terminal_snr": True}, "objective.target: .*'v' is not what these models return"),
    ],
)
def test_objectives_that_a_pipeline_cannot_express_are_refused_by_name(place, vae, objective, message):
    with pytest.raises(dit.RecipeError, match=message):
        pipeline(place, vae, objective=objective)


def edit(path, **changes):
    table = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in {**table, **changes}.items() if value is not ...}))


def refused(source, place, message, error=dit.CheckpointError, **options):
    before = sorted(place.iterdir())
    with pytest.raises(error, match=message):
        bring_in(source, place, **options)
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "UNet2DModel"}, "is of the class 'UNet2DModel', not DiTTransformer2DModel"),
        ({"norm_type": "ada_norm_single"}, "no such network here: norm_type = 'ada_norm_single'"),
        ({"activation_fn": "geglu", "attention_bias": False}, "attention_bias = False, activation_fn = 'geglu'"),
        ({"norm_eps": 1e-2}, r"norm_eps = 0\.01"),
        ({"num_layers": "3"}, "num_layers must be a whole number from 1 to 10,000,000, got '3'"),
        ({"num_layers": ...}, "num_layers must be a whole number from 1 to 10,000,000, got None"),
        ({"num_layers": 4}, r"19 of its weights(.|\n)*missing: transformer_blocks.3"),
        ({"num_layers": 2}, r"not expected: transformer_blocks.2"),
        ({"attention_head_dim": 16}, r"shape: pos_embed.proj.weight is \(32, 4, 2, 2\), expected \(64, 4, 2, 2\)"),
        ({"num_embeds_ada_norm": 7}, r"embedding_table.weight is \(11, 32\), expected \(8, 32\)"),
        ({"num_embeds_ada_norm": 11}, r"embedding_table.weight is \(11, 32\), expected \(12, 32\)"),
        ({"out_channels": 5}, "out_channels is 5; 4 channels need 4, or 8 with a learned sigma"),
        ({"sample_size": 9}, r"patch_size \(2\) does not divide the height"),
        ({"sample_size": 10**6}, "dataset.image_size"),
    ],
)
def test_other_configs_are_refused(place, change, message):
    _, _, folder = transformer(place)
    edit(folder / "config.json", **change)
    refused(folder, place, message)


@pytest.mark.parametrize("value", [None, [], "x", 7, 10**30], ids=str)
def test_configs_of_any_content_are_one_of_our_errors(place, vae, value):
    """Each option in turn; where the value says nothing wrong, the model is imported."""
    _, _, folder = pipeline(place, vae, objective=SHORT)
    outcomes = []
    for name in ("transformer/config.json", "scheduler/scheduler_config.json", "model_index.json"):
        path = folder / name
        whole = path.read_text()
        for key in json.loads(whole):
            edit(path, **{key: value})
            out = place / f"{len(outcomes)}.safetensors"
            try:
                outcomes.append(dit.import_model(folder, out, format="diffusers"))
            except dit.DitToolkitError as error:
                outcomes.append(error)
                assert not out.exists()
            path.write_text(whole)
    assert sum(isinstance(outcome, dit.CheckpointError) for outcome in outcomes) > 10


def test_epsilon_and_dropout_that_differ_are_said(place, capsys):
    _, _, folder = transformer(place)
    edit(folder / "config.json", norm_eps=1e-5, dropout=0.1, _class_name="Transformer2DModel")
    bring_in(folder, place)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert ["norm_eps is 1e-05" in lines[0], "dropout 0.1" in lines[1], len(lines)] == [True, True, 2]


def test_embedders_of_their_own_are_refused_with_the_largest_difference(place):
    _, _, folder = transformer(place)
    model = theirs(folder)
    model.transformer_blocks[1].norm1.emb.timestep_embedder.linear_1.bias.data[3] += 0.25
    model.transformer_blocks[2].norm1.emb.class_embedder.embedding_table.weight.data[3] -= 0.5
    model.save_pretrained(folder)
    where = "transformer_blocks.2.norm1.emb.class_embedder.embedding_table.weight differs by 0.5"
    refused(folder, place, where)


def test_folders_without_safetensors_weights(place):
    _, _, folder = transformer(place)
    weights = folder / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1])
    refused(folder, place, "diffusion_pytorch_model.safetensors: cannot be read as a safetensors file")
    weights.rename(folder / "diffusion_pytorch_model.bin")
    refused(folder, place, r"diffusion_pytorch_model\.bin is a pickle and is not read")
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": {"a": "../x"}}')
    refused(folder, place, "does not say which files of this folder")
    refused(folder / "config.json", place, "is not a folder")
    (folder / "config.json").write_text("{")
    refused(folder, place, "config.json: cannot be read")
    refused(place / "own.safetensors", place, "is not a folder")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "scaled_linear"}, "beta_schedule = 'scaled_linear'"),
        ({"prediction_type": "v_prediction"}, "prediction_type = 'v_prediction'"),
        ({"trained_betas": [0.1]}, r"trained_betas = \[0.1\]"),
        ({"rescale_betas_zero_snr": True, "thresholding": True}, "rescale_betas_zero_snr = True, thresholding = True"),
        ({"num_train_timesteps": None}, "num_train_timesteps must be a whole number"),
        ({"beta_start": "x"}, "beta_start must be a number, got 'x'"),
        ({"beta_start": 0.5}, "is no model that a recipe can describe"),
    ],
)
def test_schedules_that_no_recipe_can_describe_are_refused(place, vae, change, message):
    _, _, folder = pipeline(place, vae)
    edit(folder / "scheduler/scheduler_config.json", **change)
    refused(folder, place, message)


def test_other_pipelines_and_autoencoders_are_refused(place, vae):
    _, _, folder = pipeline(place, vae)
    edit(folder / "model_index.json", _class_name="FluxPipeline")
    refused(folder, place, "is a 'FluxPipeline', not a DiTPipeline")
    edit(folder / "model_index.json", _class_name="DiTPipeline")
    refused(folder, place, "config.json says 4 attention heads, --num-heads 8", dit.RecipeError, num_heads=8)
    edit(folder / "vae/config.json", latent_channels=16)
    refused(folder, place, "takes 4 channels, and the autoencoder .* makes 16")
    assert read_weights(bring_in(folder, place, autoencoder=str(vae))).recipe.autoencoder.path == str(vae)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"model": {"positions": "learned"}}, "model.positions: .*'learned'"),
        ({"model": {"block": {"kind": "adaln-zero", "mlp_ratio": 3.0}}}, "model.block.mlp_ratio: .*3.0"),
        ({"model": {"block": {"kind": "cross-attention"}}}, "model.block.kind: .*'cross-attention'"),
        ({"objective": {"kind": "flow-matching"}, "sample": {"sampler": {"kind": "heun"}}}, "objective.kind"),
        ({"latents": False}, "autoencoder.kind: .*'identity'; --no-autoencoder"),
        ({}, "autoencoder.path: nowhere"),
        (
            {
                "model": {"num_classes": 1001},
                "dataset": {"kind": "latents", "path": "x", "image_size": 64, "num_classes": 1001},
            },
            "at most 1000 classes, got 1001",
        ),
    ],
)
def test_what_a_pipeline_cannot_express_is_refused_by_name(place, tables, message):
    recipe = tiny_recipe(**tables)
    own = store(place / "own.safetensors", recipe, random_model(recipe))
    with pytest.raises(dit.DitToolkitError, match=message):
        dit.export_model(own, place / "x", format="diffusers")
    assert [p.name for p in place.iterdir()] == ["own.safetensors"]
