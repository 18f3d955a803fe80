"""The networks of FVD, FID and CLIP score: loaded from files of the user, with a pinned input.

    i3d        safetensors with the layers of `i3d.I3D`           clip  -> 400 logits
    videomae   transformers folder or hub id (VideoMAE)           clip  -> mean of the last states
    inception  safetensors with the layers of `InceptionV3`       frame -> 2048
    clip       transformers folder or hub id (CLIP)               frame -> unit vector

Nothing is unpickled: TorchScript and .pth files are refused. A score depends on the weights, so the
digest of every file stands in the result beside these settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from imagen_video.errors import DataError, InputError
from imagen_video.evaluation.features.i3d import I3D
from imagen_video.evaluation.features.inception import InceptionV3
from imagen_video.evaluation.material.clips import JUDGED_FRAMES, pixels

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of the networks' training pictures, of 0..1."""

HUB_FILE = "model.safetensors"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

PINNED: dict[str, dict[str, Any]] = {
    "i3d": {
        "frames": JUDGED_FRAMES,
        "width": 400,
        "size": 224,
        "resize": "bilinear, no antialias, aspect not kept",
        "values": "[-1, 1]",
        "features": "logits of Kinetics-400, averaged over time",
    },
    "videomae": {
        "frames": JUDGED_FRAMES,
        "resize": "bilinear, antialias, aspect not kept, to the network's size",
        "values": "ImageNet mean and deviation",
        "features": "mean of the last hidden states",
    },
    "inception": {
        "width": 2048,
        "size": 299,
        "resize": "bilinear, no antialias, aspect not kept",
        "values": "[-1, 1]",
        "features": "last average pool",
    },
    "clip": {
        "resize": "shorter side to the network's size, bicubic, antialias; centre crop",
        "values": "CLIP's mean and deviation",
        "features": "projected, of length 1",
    },
}
"""What each network is given: part of the protocol."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extractor:
    """A frozen network with its input pinned."""

    name: str
    """A key of `PINNED`."""
    settings: Mapping[str, Any]
    """How it is used, where it is from, and its digest."""
    features: Callable[[np.ndarray], Tensor]
    """uint8 frames `(f, h, w, 3)` to features `(n, d)` on the CPU: one a clip, or one a frame."""
    text: Callable[[Sequence[str]], Tensor] | None = None
    """Prompts to unit vectors `(n, d)`; CLIP only."""
    width: int | None = None
    """Features of a vector, where that is known before it has run."""
    frames: int | None = None
    """Frames that it sees at a time; None if it sees them one by one."""


def load_extractor(
    name: str, source: str, *, device: torch.device | str = "cpu", batch_size: int = 16
) -> Extractor:
    """Load one network.

    Args:
        name: a key of `PINNED`.
        source: a file, a folder or a hub id, as the head of this module says.
        device: where it runs.
        batch_size: frames in one call, where frames are seen one by one; no score depends on it.

    Raises:
        InputError: if there is no such file, or it is of a kind that is not read.
        DataError: if its weights are not those of this network.
    """
    place = torch.device(device)
    if name in ("i3d", "inception"):
        return _own(name, source, place, batch_size)
    return _videomae(source, place) if name == "videomae" else _clip(source, place, batch_size)


def _own(name: str, source: str, device: torch.device, batch_size: int) -> Extractor:
    path = _weights_file(name, source)
    network = _loaded(I3D() if name == "i3d" else InceptionV3(), path).to(device)
    side: int = PINNED[name]["size"]

    @torch.no_grad()
    def features(frames: np.ndarray) -> Tensor:
        if name == "i3d":
            _need_frames(name, frames, JUDGED_FRAMES)
        small = _squashed(frames, side, antialias=False).to(device) / 127.5 - 1
        if name == "i3d":
            return network(small.movedim(0, 1)[None]).cpu()
        return torch.cat([network(part).cpu() for part in small.split(batch_size)])

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    about = {**PINNED[name], "source": source, "sha256": digest}
    return Extractor(
        name=name,
        settings=about,
        features=features,
        width=PINNED[name]["width"],
        frames=PINNED[name].get("frames"),
    )


def _weights_file(name: str, source: str) -> Path:
    expected = f"a .safetensors file, or a hub id whose {HUB_FILE} is one"
    fix = "convert the published weights once, as docs/evaluation.md says"
    path = Path(source)
    if path.suffix.lower() in (".pt", ".pth", ".pkl", ".bin", ".ckpt", ".jit"):
        raise InputError(f"--{name}", f"{source}, which can hold code", expected, fix)
    if path.is_file():
        return path
    if not _HUB_ID.fullmatch(source):
        raise InputError(f"--{name}", f"no file {source}", expected, "check the path")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(source, HUB_FILE))
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"--{name}", f"{source} ({reason})", expected, fix) from error


def _loaded(network: nn.Module, path: Path) -> nn.Module:
    """Put the file's tensors into the network, all of them and no others."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    kind = type(network).__name__
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(str(path), f"{error}"[:120], "safetensors", "convert it again") from error
    own = network.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - counters - set(tensors))
    foreign = sorted(set(tensors) - set(own))
    shapes = [
        k for k in own if k in tensors and k not in counters and own[k].shape != tensors[k].shape
    ]
    if missing or foreign or shapes:
        wrong = (missing and f"no {missing[0]}") or (foreign and f"an unknown {foreign[0]}")
        wrong = wrong or f"{shapes[0]} of another shape"
        raise DataError(str(path), str(wrong), f"the weights of {kind}", "check which file it is")
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise DataError(str(path), "NaN or infinite", "finite weights", "convert it again")
    network.load_state_dict(tensors, strict=False)
    return network.eval().requires_grad_(False)


def _pretrained(kind: Any, option: str, source: str) -> Any:
    """Load a transformers model from safetensors, all of its weights."""
    from safetensors import SafetensorError

    expected = f"a folder or hub id with config.json and safetensors of {kind.__name__}"
    if not Path(source).is_dir() and not _HUB_ID.fullmatch(source):
        raise InputError(f"--{option}", f"no folder {source}", expected, "check the path")
    _check_kind(kind, option, source, expected)
    try:
        model, report = kind.from_pretrained(
            source, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, ImportError, RuntimeError, KeyError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"--{option} {source}", reason, expected, "check the name") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise DataError(source, f"no weights {missing}", expected, "check which model it is")
    return model.eval().requires_grad_(False)


def _check_kind(kind: Any, option: str, source: str, expected: str) -> None:
    """Refuse another kind of model, which transformers would fill with random weights."""
    from transformers import PreTrainedConfig

    try:
        found, _ = PreTrainedConfig.get_config_dict(source)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(f"--{option} {source}", reason, expected, "check the name") from error
    model_type = found.get("model_type")
    if model_type != kind.config_class.model_type:
        raise InputError(
            f"--{option} {source}", f"a model of type {model_type}", expected, "check the name"
        )


def _digest(model: nn.Module) -> str:
    """Hash all weights of a model, wherever they came from."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def _videomae(source: str, device: torch.device) -> Extractor:
    from transformers import VideoMAEModel

    model = _pretrained(VideoMAEModel, "videomae", source).to(device)
    side, frames_wanted = int(model.config.image_size), int(model.config.num_frames)

    @torch.no_grad()
    def features(frames: np.ndarray) -> Tensor:
        _need_frames("videomae", frames, frames_wanted)
        values = _normalised(_squashed(frames, side, antialias=True), IMAGENET)
        return model(pixel_values=values[None].to(device)).last_hidden_state.mean(1).cpu()

    about = {**PINNED["videomae"], "frames": frames_wanted, "size": side, "source": source}
    return Extractor(
        name="videomae",
        settings={**about, "sha256": _digest(model)},
        features=features,
        width=int(model.config.hidden_size),
        frames=frames_wanted,
    )


def _clip(source: str, device: torch.device, batch_size: int) -> Extractor:
    from transformers import AutoTokenizer, CLIPModel

    model = _pretrained(CLIPModel, "clip", source).to(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        raise InputError(
            f"--clip {source}", f"{error}"[:160], "a tokenizer beside the model", "save it there"
        ) from error
    side = int(model.config.vision_config.image_size)
    longest = int(model.config.text_config.max_position_embeddings)

    @torch.no_grad()
    def features(frames: np.ndarray) -> Tensor:
        values = _normalised(_cropped(frames, side), CLIP_COLOURS)
        parts = [
            _unit(model.get_image_features(pixel_values=part.to(device)))
            for part in values.split(batch_size)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def text(prompts: Sequence[str]) -> Tensor:
        found = []
        for prompt in prompts:  # one by one: no padding, so no prompt depends on another
            asked = tokenizer([prompt], return_tensors="pt", truncation=True, max_length=longest)
            found.append(_unit(model.get_text_features(**asked.to(device))))
        return torch.cat(found)

    about = {**PINNED["clip"], "size": side, "source": source, "sha256": _digest(model)}
    return Extractor(name="clip", settings=about, features=features, text=text)


def _unit(output: Any) -> Tensor:
    """Return vectors of length 1, from what transformers gives: a tensor, or an output with one."""
    vectors = output if isinstance(output, Tensor) else output.pooler_output
    return functional.normalize(vectors.float(), dim=-1).cpu()


def _need_frames(name: str, frames: np.ndarray, wanted: int) -> None:
    if len(frames) != wanted:
        raise InputError(
            f"a clip for {name}",
            f"{len(frames)} judged frames",
            f"{wanted}: a clip of {wanted * 8 / 24:.1f} seconds",
            f"generate whole clips, or leave {name} out",
        )


def _squashed(frames: np.ndarray, side: int, *, antialias: bool) -> Tensor:
    return functional.interpolate(
        pixels(frames), (side, side), mode="bilinear", align_corners=False, antialias=antialias
    )


def _cropped(frames: np.ndarray, side: int) -> Tensor:
    height, width = frames.shape[1:3]
    scale = side / min(height, width)
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    large = functional.interpolate(
        pixels(frames), size, mode="bicubic", align_corners=False, antialias=True
    ).clamp(0, 255)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return large[..., top : top + side, left : left + side]


def _normalised(values: Tensor, colours: tuple[Sequence[float], Sequence[float]]) -> Tensor:
    mean, deviation = (values.new_tensor(colour).view(3, 1, 1) for colour in colours)
    return (values / 255 - mean) / deviation
