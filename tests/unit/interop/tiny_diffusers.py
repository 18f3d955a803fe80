"""A text-to-video pipeline of diffusers with random weights, built here: nothing is fetched."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch

SIDE = 16
FRAMES = 4


def tiny_text_to_video(folder: Path) -> Any:
    """Build a latent text-to-video pipeline of some thousand weights; `folder` takes its words."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
    from diffusers.pipelines.deprecated import text_to_video_synthesis
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    words = CLIPTextConfig(
        vocab_size=64,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    # It warns that the pipeline is deprecated: its call convention is what counts here.
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    pipeline_class: Any = text_to_video_synthesis.TextToVideoSDPipeline  # pyright: ignore[reportPrivateImportUsage]
    autoencoder: dict[str, Any] = {  # untyped: diffusers declares tuples of one
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "latent_channels": 4,
        "norm_num_groups": 4,
        "layers_per_block": 1,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipe = pipeline_class(
            vae=AutoencoderKL(**autoencoder),
            text_encoder=CLIPTextModel(words),
            tokenizer=_letters(folder),
            unet=UNet3DConditionModel(
                sample_size=SIDE // 2,
                block_out_channels=(8, 8),
                layers_per_block=1,
                down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
                up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
                cross_attention_dim=8,
                attention_head_dim=4,
                norm_num_groups=4,
            ),
            scheduler=DDIMScheduler(),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _letters(folder: Path) -> Any:
    """Build a tokenizer that knows the letters."""
    from transformers import CLIPTokenizer

    pieces = ["<|startoftext|>", "<|endoftext|>"]
    pieces += [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )
