"""What a network is: `UNetSpec`, a tuple of `LevelSpec` plus the conditions it listens to.

One class serves all seven stages; base and super-resolution networks differ by spec only. Specs are
frozen values that check themselves when built and round-trip through JSON beside the weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_type_hints

from imagen_video.errors import InputError

Temporal = Literal["attention", "convolution", "none"]
Norm = Literal["group", "layer"]

MAX_LEVELS = 16
MAX_BLOCKS = 256
MAX_WIDTH = 1 << 16
"""Largest values that a spec may name: guards against hostile files, far beyond real networks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LevelSpec:
    """One resolution of the U-Net: the patch grid first, then half of it at each further level."""

    channels: int
    """Feature channels; a multiple of 8."""
    num_blocks: int
    """Residual blocks on the way down, and as many up; the coarsest level has them once."""
    spatial_attention: bool = False
    """Self-attention over a frame's positions after every block. Not local: no exact tiling."""
    text_attention: bool = False
    """Cross-attention from every position to the text tokens. Local: allowed in tileable stages."""
    temporal: Temporal = "none"
    """How frames mix: attention in the base, convolution in the other stages (paper, Fig. 7)."""
    norm: Norm = "group"
    """Group norm over a frame, or layer norm of each position, which is local: tileable."""

    def __post_init__(self) -> None:
        """Refuse a level that cannot be built."""
        _check_range("LevelSpec.channels", self.channels, 8, MAX_WIDTH)
        if self.channels % 8:
            raise InputError(
                "LevelSpec.channels", f"{self.channels}", "a multiple of 8", "round it up to one"
            )
        _check_range("LevelSpec.num_blocks", self.num_blocks, 1, MAX_BLOCKS)
        _check_choice("LevelSpec.temporal", self.temporal, get_args(Temporal))
        _check_choice("LevelSpec.norm", self.norm, get_args(Norm))


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetSpec:
    """A `VideoUNet`: its levels and every condition it takes."""

    levels: tuple[LevelSpec, ...]
    """From the finest to the coarsest resolution."""
    channels: int = 3
    """Channels of the video: 1 grey, 3 RGB, any other number."""
    patch_size: int = 1
    """Pixels of a patch side, folded into channels at the input, back at the output; paper: 1."""
    embedding_width: int = 256
    """Width of the conditioning vector (noise level, pooled text, class, ...); an even number."""
    head_width: int = 64
    """Channels per attention head (VDM: 64); narrower levels have one head."""
    text_width: int | None = None
    """Width of the text encoder's token states; None for a network that hears no text."""
    num_classes: int | None = None
    """Number of class ids; None for no class conditioning."""
    vector_width: int | None = None
    """Width of a numeric condition vector; None for none."""
    low_res: bool = False
    """Takes the upsampled, noise-augmented video of the stage before (SR stages)."""
    given_frames: bool = False
    """Takes clean frames at masked positions (image-to-video, longer clips)."""
    frame_rate: bool = False
    """Takes the frame rate in frames per second."""
    guidance_weight: bool = False
    """Takes the guidance weight (guidance-distilled students)."""
    frame_position: bool = False
    """Knows which frame of the clip each frame is, by its number from 0; images have none.

    Deviation: with relative positions alone (VDM, the paper) time has no direction in pure noise,
    and a motion that the text names goes either way (docs/lab-notes.md). Whole clips only.
    """
    residual_std: float | None = None
    """Standard deviation of (clean video - upsampled low-res video), or None for a plain v output.

    Deviation: the paper's networks see z and output v. With a value here the network sees and
    predicts what the low-res video leaves open, at unit variance; see `models.prior`. An untrained
    SR stage is then already the bilinear upscaler.
    """

    def __post_init__(self) -> None:
        """Refuse a spec that cannot be built."""
        object.__setattr__(self, "levels", tuple(self.levels))
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise InputError(
                "UNetSpec.levels", f"{len(self.levels)}", f"1 to {MAX_LEVELS}", "correct them"
            )
        for name in ("channels", "patch_size", "embedding_width", "head_width"):
            _check_range(f"UNetSpec.{name}", getattr(self, name), 1, MAX_WIDTH)
        for name in ("text_width", "num_classes", "vector_width"):
            if getattr(self, name) is not None:
                _check_range(f"UNetSpec.{name}", getattr(self, name), 1, MAX_WIDTH)
        if self.embedding_width % 2:
            raise InputError(
                "UNetSpec.embedding_width",
                f"{self.embedding_width}",
                "an even number, half sines and half cosines",
                "add one",
            )
        self._check_heads()
        if any(level.text_attention for level in self.levels) and self.text_width is None:
            raise InputError(
                "UNetSpec.text_width",
                "None with text_attention in a level",
                "the encoder's width",
                "set text_width",
            )
        if self.residual_std is not None:
            if not self.low_res:
                raise InputError(
                    "UNetSpec.residual_std",
                    "a value without low_res",
                    "low_res=True",
                    "drop residual_std",
                )
            if not 0 < self.residual_std <= 1:  # False for NaN too
                raise InputError(
                    "UNetSpec.residual_std",
                    f"{self.residual_std}",
                    "a value in (0, 1]",
                    "measure it",
                )

    @property
    def stride(self) -> int:
        """Pixels per position of the coarsest level: height and width must be multiples of it."""
        return self.patch_size * 2 ** (len(self.levels) - 1)

    @property
    def tileable(self) -> bool:
        """Whether a tile with a halo equals the full result: every operation is local."""
        return not self.frame_position and all(
            level.norm == "layer" and not level.spatial_attention and level.temporal != "attention"
            for level in self.levels
        )

    @property
    def halo_frames(self) -> int:
        """Frames on each side that one output frame depends on (0 when frames never mix)."""
        return sum(
            level.num_blocks * self._passes(depth)
            for depth, level in enumerate(self.levels)
            if level.temporal == "convolution"
        )

    @property
    def halo_pixels(self) -> int:
        """Pixels on each side that an output position depends on, rounded up to the stride."""
        reach = 1 + 1  # input and output convolutions, in patches
        for depth, level in enumerate(self.levels):
            # two 3x3 convolutions a block; a strided and an upsampling convolution between levels
            reach += (2 * level.num_blocks * self._passes(depth) + (2 if depth else 0)) * 2**depth
        pixels = reach * self.patch_size
        return -(-pixels // self.stride) * self.stride

    def _check_heads(self) -> None:
        """Refuse levels whose channels do not split into whole attention heads."""
        for depth, level in enumerate(self.levels):
            attends = (
                level.spatial_attention or level.text_attention or level.temporal == "attention"
            )
            if attends and level.channels > self.head_width and level.channels % self.head_width:
                raise InputError(
                    f"UNetSpec.levels[{depth}].channels",
                    f"{level.channels} with attention and head_width {self.head_width}",
                    f"a multiple of {self.head_width}, or fewer channels than that",
                    "change channels or head_width",
                )

    def _passes(self, depth: int) -> int:
        """How often the blocks of a level run: down and up, but once at the coarsest."""
        return 1 if depth == len(self.levels) - 1 else 2

    def check_size(self, where: str, height: int, width: int) -> None:
        """Raise `InputError` unless the strides divide height and width."""
        if height < 1 or width < 1 or height % self.stride or width % self.stride:
            raise InputError(
                where,
                f"{height}x{width} (height x width)",
                f"positive multiples of {self.stride}, the stride of the network",
                "crop or pad the video, or choose other strides",
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_json` rebuilds the spec."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str = "UNetSpec") -> UNetSpec:
        """Rebuild a spec.

        Raises:
            InputError: on anything unknown, mistyped, missing or inconsistent.
        """
        values = checked_fields(cls, data, where, skip=("levels",))
        levels = values.get("levels")
        if not isinstance(levels, list | tuple) or len(levels) > MAX_LEVELS:
            raise InputError(
                f"{where}.levels",
                repr(levels)[:80],
                f"a list of at most {MAX_LEVELS} levels",
                "rewrite the file",
            )
        try:
            values["levels"] = tuple(
                LevelSpec(**checked_fields(LevelSpec, level, f"{where}.levels[{i}]"))
                for i, level in enumerate(levels)
            )
        except TypeError as error:  # a required key is missing
            raise InputError(
                f"{where}.levels", str(error), "every required key", "rewrite the file"
            ) from error
        return cls(**values)


def checked_fields(cls: type, data: Any, where: str, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check that a JSON object has only known keys with values of the declared scalar types.

    Raises:
        InputError: on a non-object, an unknown key, or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise InputError(where, type(data).__name__, "a JSON object", "rewrite the file")
    hints = get_type_hints(cls)
    for key, value in data.items():
        if key not in hints:
            raise InputError(
                f"{where}.{key}", "an unknown key", f"one of {sorted(hints)}", "remove it"
            )
        if key in skip:
            continue
        allowed = tuple(t for t in (get_args(hints[key]) or (hints[key],)) if isinstance(t, type))
        literal = [t for t in get_args(hints[key]) if isinstance(t, str)]
        accepted = value in literal if literal else _is_instance(value, allowed)
        if not accepted:
            raise InputError(
                f"{where}.{key}", repr(value)[:80], f"{hints[key]}", "correct the value"
            )
    return dict(data)


def _is_instance(value: Any, allowed: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in allowed
    if isinstance(value, int) and float in allowed:
        return True
    return isinstance(value, allowed)


def _check_range(where: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(where, f"{value}", f"{low} to {high}", "correct it")


def _check_choice(where: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(where, repr(value), f"one of {choices}", "choose one of them")
