"""Small image folders, autoencoders and recipes that tests make."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import tomli_w
from PIL import Image

RECIPE = {
    "dataset": {"kind": "latents", "path": "latents", "image_size": 16, "num_classes": 3},
    "autoencoder": {"kind": "kl", "path": "vae", "downsampling": 2},
    "model": {
        "hidden_size": 16, "depth": 1, "num_heads": 2, "num_classes": 3,
        "patchifier": {"kind": "conv", "patch_size": 4},
    },
    "train": {"max_steps": 2, "global_batch_size": 4, "log_every": 1, "backend": {"kind": "single"}},
    "sample": {"num_samples": 3, "sampler": {"kind": "ddim", "num_steps": 2}},
}  # fmt: skip


def image(seed, height=20, width=24):
    """A smooth picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def png(width, height):
    """A PNG file that claims a size and holds nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def image_tree(root, classes=("a", "b", "c"), train=6, val=2):
    """Folders train/CLASS and val/CLASS of JPEG files of different sizes."""
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                picture = image(1000 * number + index + 500 * (split == "val"), 20 + index, 24 + number)
                picture.save(root / split / name / f"{index:03}.jpg", quality=95)
    return root


def save_kl(folder, seed=0, **config):
    """A tiny AutoencoderKL with random weights, 2 x smaller."""
    import torch
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            **{"scaling_factor": 0.5, "sample_size": 16, **config},
        )
        model.decoder.conv_out.weight.data *= 0.3
    model.save_pretrained(folder)
    return folder


def save_recipe(folder, **changes):
    """recipe.toml in the folder, its data beside it."""
    table = {key: {**value, **changes.get(key, {})} for key, value in RECIPE.items()}
    table["dataset"]["path"] = str(folder / table["dataset"]["path"])
    table["autoencoder"]["path"] = str(folder / table["autoencoder"]["path"])
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def write_store(folder, latents, labels=None, splits=("train",), **facts):
    """A store with the same latents (rows, versions, parts, C, h, w) in each of its splits."""
    from dit_toolkit.latents.manifest import Manifest, SplitEntry
    from dit_toolkit.latents.writer import StoreWriter

    labels = np.arange(len(latents)) % 3 if labels is None else labels
    entries = {name: SplitEntry.of(name, labels) for name in splits}
    plan = Manifest(
        **{
            "source": {"kind": "image-folder"},
            "autoencoder": {"kind": "kl"},
            "image": (3, 16, 16),
            "latent": latents.shape[3:],
            "content": "moments" if latents.shape[2] == 2 else "sample",
            "flip": latents.shape[1] == 2,
            "dtype": str(latents.dtype),
            "batch_size": 4,
            "block": 4,
            "class_names": ["a", "b", "c"],
            "splits": entries,
            **facts,
        }
    )
    store = StoreWriter(folder, plan, dict.fromkeys(splits, labels))
    for block in store.blocks():
        with block.claim() as mine:
            assert mine
            block.append(latents[block.rows.start : block.rows.stop], [])
            block.seal()
    store.finish()
    return folder


def save_tiny(folder, **config):
    """A small AutoencoderTiny with random weights, 4 x smaller."""
    import torch
    from diffusers import AutoencoderTiny

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderTiny(
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            num_encoder_blocks=(1, 1, 1),
            num_decoder_blocks=(1, 1, 1),
            **config,
        )
    model.save_pretrained(folder)
    return folder


def save_dc(folder, **config):
    """A small AutoencoderDC with random weights, 4 x smaller."""
    import torch
    from diffusers import AutoencoderDC

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoencoderDC(
            latent_channels=8,
            attention_head_dim=8,
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_block_out_channels=(8, 8, 16),
            decoder_block_out_channels=(8, 8, 16),
            encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            encoder_qkv_multiscales=((), (), ()),
            decoder_qkv_multiscales=((), (), ()),
            upsample_block_type="interpolate",
            **config,
        )
    model.save_pretrained(folder)
    return folder
