"""How much one request, and all of them together, may ask of the server."""

from __future__ import annotations

import dataclasses
import unicodedata

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError

MAX_STEPS = 256
"""Steps of a stage: the paper's most (base)."""
MAX_PROMPT_CHARACTERS = 2_000
"""A long paragraph. Encoders read a few hundred words at most."""
MAX_UPLOAD_BYTES = 64_000_000
MAX_UPLOAD_SECONDS = 60.0
MAX_UPLOAD_PIXELS = 4096 * 2304
"""Height times width of an uploaded clip's frames."""
MAX_QUEUED = 64
"""Jobs that wait: a few more than the 50 clients that a server should stand."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What is refused."""

    frames: int
    """Frames of a result."""
    pixels: int
    """Height times width of a result."""
    steps: int = MAX_STEPS
    """Steps of a stage."""
    prompt_characters: int = MAX_PROMPT_CHARACTERS
    """Of a prompt, and of a negative prompt."""
    upload_bytes: int = MAX_UPLOAD_BYTES
    """Size of an uploaded file."""
    upload_seconds: float = MAX_UPLOAD_SECONDS
    """Length of an uploaded clip."""
    upload_pixels: int = MAX_UPLOAD_PIXELS
    """Height times width of an uploaded clip."""
    queued: int = MAX_QUEUED
    """Jobs that wait at once."""
    memory: int | None = None
    """Bytes that the process may use; None = no bound. A request may lower it."""

    @classmethod
    def of(cls, spec: CascadeSpec) -> Limits:
        """Return the limits of a cascade: results as large as its last stage makes them."""
        last = spec.stages[-1].output
        return cls(frames=last.frames, pixels=last.height * last.width)

    def check_text(self, where: str, text: str) -> str:
        """Return a prompt as one line.

        Raises:
            InputError: too long, or with control characters.
        """
        if len(text) > self.prompt_characters:
            raise InputError(
                where,
                f"{len(text)} characters",
                f"at most {self.prompt_characters}",
                "shorten it",
            )
        line = " ".join(text.split())  # tabs and line ends are spaces
        odd = next((c for c in line if unicodedata.category(c) in ("Cc", "Cs")), None)
        if odd is not None:
            raise InputError(
                where, f"the character U+{ord(odd):04X}", "printable text", "remove it"
            )
        return line

    def check_steps(self, stage: str, steps: int) -> None:
        """Refuse more steps than allowed.

        Raises:
            InputError: if there are more.
        """
        if not 1 <= steps <= self.steps:
            raise InputError(
                f"steps of stage {stage!r}", f"{steps}", f"1 to {self.steps}", "choose fewer"
            )

    def check_result(self, frames: int, height: int, width: int) -> None:
        """Refuse a result that is too large.

        Raises:
            InputError: if it is.
        """
        if frames > self.frames:
            raise InputError("frames", f"{frames}", f"at most {self.frames}", "choose fewer")
        if height * width > self.pixels:
            raise InputError(
                "size", f"{height}x{width} pixels", f"at most {self.pixels}", "choose a smaller one"
            )

    def memory_for(self, wanted_gb: float | None) -> int | None:
        """Return the bytes that a request may use: what it wants, within the server's bound."""
        if wanted_gb is None:
            return self.memory
        wanted = int(wanted_gb * 1e9)
        return wanted if self.memory is None else min(wanted, self.memory)
