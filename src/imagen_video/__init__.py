"""Imagen Video: text to video with a cascade of seven diffusion models.

The public names load on first use: `import imagen_video` costs milliseconds and imports no torch.

    from imagen_video import ImagenVideoPipeline

    pipeline = ImagenVideoPipeline.from_pretrained("path/to/bundle")
    result = pipeline("a panda dancing on a blue background", seed=1)

The paper: Ho et al. (2022), "Imagen Video: High Definition Video Generation with Diffusion Models",
arXiv:2210.02303. ARCHITECTURE.md maps its sections to files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagen_video.cascade.model_card import CardFacts, CardMetric
    from imagen_video.cascade.options import StageOptions
    from imagen_video.cascade.pipeline import ImagenVideoPipeline
    from imagen_video.cascade.request import Stopped
    from imagen_video.cascade.spec import CascadeSpec, StageSpec
    from imagen_video.media.export import export_to_video
    from imagen_video.models.spec import LevelSpec, UNetSpec
    from imagen_video.models.unet import VideoUNet

__version__ = "0.1.0"

__all__ = [
    "CardFacts",
    "CardMetric",
    "CascadeSpec",
    "ImagenVideoPipeline",
    "LevelSpec",
    "StageOptions",
    "StageSpec",
    "Stopped",
    "UNetSpec",
    "VideoUNet",
    "__version__",
    "export_to_video",
]

# Public name -> the module that defines it. The one place to touch when a name becomes public
# (and the TYPE_CHECKING block above, which is how editors and type checkers see it).
_HOME = {
    "CardFacts": "imagen_video.cascade.model_card",
    "CardMetric": "imagen_video.cascade.model_card",
    "CascadeSpec": "imagen_video.cascade.spec",
    "ImagenVideoPipeline": "imagen_video.cascade.pipeline",
    "LevelSpec": "imagen_video.models.spec",
    "StageOptions": "imagen_video.cascade.options",
    "StageSpec": "imagen_video.cascade.spec",
    "Stopped": "imagen_video.cascade.request",
    "UNetSpec": "imagen_video.models.spec",
    "VideoUNet": "imagen_video.models.unet",
    "export_to_video": "imagen_video.media.export",
}


def __getattr__(name: str) -> object:
    """Import a public name's module when the name is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
