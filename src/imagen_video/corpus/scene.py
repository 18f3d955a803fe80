"""What a scene is: plain data from which every pixel and the caption follow."""

from __future__ import annotations

from dataclasses import dataclass

from imagen_video.corpus.grounds import RGB
from imagen_video.corpus.held_out import Pair, held_out_pairs
from imagen_video.corpus.motions import Track


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One sprite of a scene and its motion."""

    sprite: str
    """Key in the store."""
    track: Track
    """Where it is in every frame."""
    phase: int = 0
    """Frames by which its own animation starts later in the loop."""
    tint: RGB | None = None
    """Colour of a tinted sprite."""
    mirrored: bool = False
    """Left and right swapped, so that a side view faces the way it moves."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that is drawn, and what is said about it."""

    kind: str
    """A key of `KINDS`."""
    caption: str
    """A sentence with motion words, for clips."""
    image_caption: str
    """A sentence without motion words, for single frames."""
    subjects: tuple[str, ...]
    """Names of the subjects (code points), solids (`red cube`) or the word."""
    ground: str
    """A key of `GROUNDS`."""
    tone: float
    """Factor on the ground's colours."""
    motion: str
    """Name of the motion; a relation (`left of`, `above`) for two subjects."""
    style: str
    """A key of `STYLES`; `animation` for solids and words."""
    layers: tuple[Layer, ...]
    """What lies on the ground, from back to front."""
    pairs: tuple[Pair, ...]
    """Every pair of facts that could be held out."""

    @property
    def held_out(self) -> bool:
        """Whether training never shows this combination."""
        return bool(held_out_pairs(self.pairs))
