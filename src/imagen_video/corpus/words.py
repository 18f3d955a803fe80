"""The words that scenes write, and the glyphs they are written with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imagen_video.errors import DataError

_LIST = """
    HELLO HI HEY BYE YES NO OK WOW COOL NICE GOOD BEST GREAT SUPER LOVE LIKE HAPPY SMILE LAUGH
    PEACE HOPE DREAM MAGIC LUCKY FUN PARTY DANCE MUSIC SONG JAZZ ROCK POP GAME PLAY WIN TEAM GOAL
    RACE RUN JUMP SWIM FLY GO STOP START END OPEN EXIT NEW SALE FREE WOOD WATER EARTH WIND SKY
    RIVER LAKE BEACH TREE LEAF HOME HOUSE CITY PARK ROAD BREAD CAKE PIZZA APPLE LEMON MILK JUICE
    ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE TEN ZERO TRUE REAL FAST SLOW LOUD WILD BOLD FRESH
    SWEET SPACE MARS NEXT NOW TODAY NIGHT LIGHT POWER SPEED LEVEL BONUS EXTRA MAX BIG TINY QUIZ
    JOY ZEN VOTE BOOM ZAP OOPS YEAH
"""

WORDS: tuple[str, ...] = tuple(_LIST.split())
"""Common words of up to five letters, all different. No colours, directions or names of subjects: a
caption that says `the word RED in green letters` would teach a small model the wrong lesson."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

CAP_HEIGHT = 0.62
"""Height of capitals as a share of the cell; leaves room for W's width and Q's tail."""


def draw_glyphs(
    font_file: Path, side: int
) -> dict[str, tuple[np.ndarray, tuple[float, float, float, float]]]:
    """Draw every capital into its own cell.

    Args:
        font_file: a TrueType or OpenType file.
        side: side of the cell in pixels.

    Returns:
        letter -> (uint8 (1, side, side, 4) with the coverage in red (the share of the tint) and
        alpha, box). The box is the letter's advance wide and the capitals' height high, so boxes
        set side by side make a line of text.

    Raises:
        DataError: if the file is not a font.
    """
    from PIL import Image, ImageDraw, ImageFont

    try:
        probe = ImageFont.truetype(font_file, 1000)
    except OSError as error:
        raise DataError(
            str(font_file), str(error), "a TrueType font", "install it again"
        ) from error
    _, top, _, bottom = probe.getbbox("H", anchor="ls")
    font = ImageFont.truetype(font_file, CAP_HEIGHT * side * 1000 / (bottom - top))
    glyphs = {}
    for letter in LETTERS:
        cover = Image.new("L", (side, side), 0)
        baseline = side * (1 + CAP_HEIGHT) / 2
        advance = font.getlength(letter)
        ImageDraw.Draw(cover).text(
            ((side - advance) / 2, baseline), letter, fill=255, font=font, anchor="ls"
        )
        cell = np.zeros((1, side, side, 4), dtype=np.uint8)
        cell[0, ..., 0] = cell[0, ..., 3] = np.asarray(cover)
        half = min(0.5, 1.06 * advance / side / 2)
        box = (0.5 - half, (1 - CAP_HEIGHT) / 2, 0.5 + half, (1 + CAP_HEIGHT) / 2)
        glyphs[letter] = (cell, box)
    return glyphs
