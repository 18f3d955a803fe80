"""The loaders on tiny networks made here, and our own two networks by shape and by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from imagen_video.errors import DataError, InputError
from imagen_video.evaluation.features import extractors
from imagen_video.evaluation.features.extractors import load_extractor
from imagen_video.evaluation.features.i3d import I3D, Mixed, pad_same
from imagen_video.evaluation.features.inception import BlockE, InceptionV3

CLIP_FRAMES = np.random.default_rng(0).integers(0, 256, (16, 24, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import VideoMAEConfig, VideoMAEModel

    torch.manual_seed(0)
    config = VideoMAEConfig(
        image_size=32, patch_size=16, num_frames=16, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("videomae")
    VideoMAEModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = CLIPConfig(
        text_config={**small, **ends, "vocab_size": 30, "max_position_embeddings": 12},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(folder)
    letters = [f"{letter}{end}" for letter in "abcdef" for end in ("", "</w>")]
    vocabulary = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    save_file(InceptionV3().state_dict(), path)
    return path


def test_videomae_gives_one_vector_a_clip_and_says_what_it_is(videomae: Path) -> None:
    extractor = load_extractor("videomae", str(videomae))
    assert extractor.features(CLIP_FRAMES).shape == (1, 16)
    assert extractor.settings["frames"] == 16
    assert (extractor.width, extractor.frames) == (16, 16)  # known before it has run
    assert len(extractor.settings["sha256"]) == 64
    with pytest.raises(InputError, match="4 judged frames"):
        extractor.features(CLIP_FRAMES[:4])


def test_videomae_sees_the_order_of_frames_and_clip_does_not(videomae: Path, clip: Path) -> None:
    video, frame = load_extractor("videomae", str(videomae)), load_extractor("clip", str(clip))
    forth, back = (video.features(f) for f in (CLIP_FRAMES, CLIP_FRAMES[::-1]))
    assert not torch.allclose(forth, back, atol=1e-4)
    one, other = (frame.features(f) for f in (CLIP_FRAMES, CLIP_FRAMES[::-1]))
    torch.testing.assert_close(one, other.flip(0))


def test_clip_gives_unit_vectors_of_frames_and_prompts(clip: Path) -> None:
    extractor = load_extractor("clip", str(clip))
    assert extractor.text is not None
    frames, prompts = extractor.features(CLIP_FRAMES), extractor.text(["a bad cab", "fed"])
    assert (frames.shape, prompts.shape) == ((16, 8), (2, 8))
    for vectors in (frames, prompts):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))


def test_a_prompt_does_not_depend_on_the_others_and_a_long_one_is_cut(clip: Path) -> None:
    text = load_extractor("clip", str(clip)).text
    assert text is not None
    torch.testing.assert_close(text(["fed", "a bad cab"])[0], text(["fed"])[0])
    assert bool(torch.isfinite(text(["a b c d e f " * 20])).all())


@pytest.mark.parametrize("name", ["clip", "inception"])
def test_features_do_not_depend_on_the_batch_size(name: str, clip: Path, inception: Path) -> None:
    source = str(clip if name == "clip" else inception)
    frames = CLIP_FRAMES[:3]
    whole = load_extractor(name, source, batch_size=3).features(frames)
    parts = load_extractor(name, source, batch_size=2).features(frames)
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=1e-4)


def test_inception_has_the_published_number_of_parameters_and_features(inception: Path) -> None:
    # 23,834,568 of Inception v3 without its auxiliary head, with 1008 outputs instead of 1000
    count = sum(p.numel() for p in InceptionV3().parameters())
    assert count == 23_834_568 + 8 * 2049
    extractor = load_extractor("inception", str(inception))
    assert extractor.features(CLIP_FRAMES[:1]).shape == (1, 2048)
    assert extractor.settings["resize"].startswith("bilinear, no antialias")
    assert (extractor.width, extractor.frames) == (2048, None)


def test_the_last_inception_block_pools_by_the_largest_value() -> None:
    torch.manual_seed(0)
    block = BlockE(4, largest=True).eval()
    x = torch.randn(1, 4, 8, 8)
    pooled = functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(block(x)[:, -192:], block.branch_pool(pooled))
    block.largest = False
    assert not torch.allclose(block(x)[:, -192:], block.branch_pool(pooled))


def test_i3d_has_the_published_number_of_parameters_and_names() -> None:
    network = I3D()
    assert sum(p.numel() for p in network.parameters()) == 12_697_264  # with 400 classes
    names = set(network.state_dict())
    assert {
        "Conv3d_1a_7x7.conv3d.weight",
        "Mixed_4c.b1b.bn.running_var",
        "logits.conv3d.bias",
    } <= names
    assert network.state_dict()["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)


def test_padding_is_that_of_tensorflow() -> None:
    # size 224, window 7, stride 2: 112 outputs reach from -2 to 226, so 2 before and 3 after
    padded = pad_same(torch.ones(1, 1, 16, 224, 5), (7, 7, 1), (2, 2, 1))
    assert padded.shape[2:] == (16 + 5, 224 + 5, 5)
    assert padded[0, 0, 2, 2, 0] == 1
    assert float(padded[0, 0, 1].sum() + padded[0, 0, :, 1].sum()) == 0
    assert pad_same(torch.ones(1, 1, 7, 1, 1), (3, 1, 1), (2, 1, 1)).shape[2] == 9


def test_a_mixed_block_of_ones_gives_sums_that_can_be_checked_by_hand() -> None:
    block = Mixed(2, (1, 1, 1, 1, 1, 1)).eval()
    with torch.no_grad():
        for name, value in block.named_parameters():
            if "conv3d" in name:
                value.fill_(1)
    x = torch.ones(1, 2, 3, 3, 3)
    x[0, :, 1, 1, 1] = 5
    norm = (1 + 1e-3) ** -0.5  # a batch norm of mean 0 and variance 1
    found = block(x)[0, :, 1, 1, 1] / norm
    # 1x1: 2 * 5; 3x3x3 over 1x1: 26 * 2 + 10 (twice); largest of all, then 1x1: 2 * 5
    torch.testing.assert_close(found, torch.tensor([10.0, 62 * norm, 62 * norm, 10.0]))
    corner = block(x)[0, 1, 0, 0, 0] / norm
    torch.testing.assert_close(corner, torch.tensor((7 * 2 + 10) * norm))


def test_i3d_gives_400_logits_from_a_converted_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = I3D()
    save_file(network.state_dict(), tmp_path / "i3d.safetensors")
    # the whole is 16x224x224; this one must see the smallest that the last pool takes
    monkeypatch.setitem(extractors.PINNED["i3d"], "size", 193)
    extractor = load_extractor("i3d", str(tmp_path / "i3d.safetensors"))
    found = extractor.features(CLIP_FRAMES)
    assert found.shape == (1, 400)
    assert (extractor.width, extractor.frames) == (400, 16)
    small = functional.interpolate(
        torch.from_numpy(CLIP_FRAMES).movedim(-1, 1).float(), (193, 193), mode="bilinear"
    )
    with torch.no_grad():
        direct = network.eval()((small / 127.5 - 1).movedim(0, 1)[None])
    torch.testing.assert_close(found, direct)


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.bin", "x.pkl", "x.ckpt"])
def test_files_that_can_hold_code_are_refused_unread(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="can hold code"):
        load_extractor("i3d", str(tmp_path / name))


@pytest.mark.parametrize("name", list(extractors.PINNED))
def test_a_missing_source_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name}"):
        load_extractor(name, "no/such/place/at/all")


def damaged(state: dict[str, Any], kind: str) -> dict[str, Any]:
    key = "Conv2d_1a_3x3.bn.bias"
    if kind == "missing":
        del state[key]
    elif kind == "foreign":
        state["AuxLogits.fc.bias"] = torch.zeros(1)
    elif kind == "shape":
        state[key] = torch.zeros(3)
    else:
        state[key] = torch.full_like(state[key], torch.nan)
    return state


@pytest.mark.parametrize("kind", ["missing", "foreign", "shape", "nan"])
def test_weights_that_are_not_whole_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(damaged(InceptionV3().state_dict(), kind), path)
    with pytest.raises(DataError, match=r"InceptionV3|finite"):
        load_extractor("inception", str(path))


def test_a_file_that_is_no_safetensors_and_a_foreign_model_are_refused(
    tmp_path: Path, videomae: Path
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="safetensors"):
        load_extractor("i3d", str(path))
    with pytest.raises(InputError, match="a model of type videomae"):
        load_extractor("clip", str(videomae))
