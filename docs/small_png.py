"""Pictures of frames for the pages, with a palette: a fraction of the bytes, and as good to see."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

IMAGES = Path(__file__).parent / "images"


def save(figure: plt.Figure, name: str, *, colours: int = 96) -> None:
    """Write a figure to docs/images/NAME.png and close it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    plt.close(figure)
    save_picture(Image.open(file), name, colours=colours)


def save_picture(picture: Image.Image, name: str, *, colours: int) -> None:
    """Write a picture to docs/images/NAME.png."""
    picture.convert("RGB").quantize(colours).save(IMAGES / f"{name}.png", optimize=True)
