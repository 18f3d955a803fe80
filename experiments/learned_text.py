"""A frozen text encoder against word embeddings learned from scratch.

    python experiments/learned_text.py [--updates 600] [--seeds 3] [--minutes 20]

`frozen` hears MiniLM's token states. `learned` hears each word as a 1 in one of 512 places (its
hash): the network's own projections of it are then embeddings that training must find. Both are
asked for held-out combinations in the corpus' words, and in other words (a table of synonyms below;
none of them occurs in a training caption).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import torch
from _bases import clip_measures
from _frame import Experiment, Row, Session, main
from _small import base
from _training import Laboratory, Training

from imagen_video.text.base import TextEmbedding, checked_prompts

PLACES = 512
SYNONYMS = {
    "background": "backdrop",
    "red": "crimson",
    "blue": "azure",
    "green": "emerald",
    "yellow": "golden",
    "orange": "tangerine",
    "purple": "violet",
    "pink": "rosy",
    "white": "snowy",
    "black": "jet",
    "grey": "silvery",
    "moving": "travelling",
    "bouncing": "springing",
    "falling": "dropping",
    "rising": "ascending",
    "spinning": "whirling",
    "drawing": "sketch",
}
WORDINGS = ("as trained", "in other words")


class HashedWords:
    """A text encoder that knows nothing: word i is a unit vector."""

    width = PLACES
    max_tokens = 64

    @property
    def identity(self) -> dict[str, Any]:
        """Say what it is."""
        return {"encoder": "hashed words", "width": PLACES}

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Return unit vectors `(b, l, 512)`."""
        rows = []
        for prompt in checked_prompts(prompts):
            words = re.findall(r"[a-z0-9]+", prompt.lower())[: self.max_tokens]
            row = torch.zeros(len(words), PLACES)
            for index, word in enumerate(words):
                row[index, place(word)] = PLACES**0.5
            rows.append(row)
        return TextEmbedding.from_rows(rows)


def place(word: str) -> int:
    """Return the place of a word."""
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % PLACES


def in_other_words(caption: str) -> str:
    """Replace the words that have a synonym."""
    return re.sub(r"[A-Za-z]+", lambda found: SYNONYMS.get(found[0].lower(), found[0]), caption)


def training_of(arm: str, seed: int) -> Training:
    """Return what an arm trains."""
    if arm == "frozen":
        return Training(stage=base(), source=None, seed=seed)
    stage = base(text_width=PLACES)
    return Training(stage=stage, source=None, seed=seed, encoder=HashedWords(), data="hashed words")


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Ask for the same scenes in both wordings."""
    lab, training = Laboratory(session), training_of(arm, seed)
    network = lab.trained(training, session.updates)
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, training.stage.output)
    captions = [scene.caption for scene in scenes]
    rows: list[Row] = []
    for wording in WORDINGS:
        asked = captions if wording == WORDINGS[0] else [in_other_words(c) for c in captions]
        made = lab.sample(training, network, scenes, captions=asked)
        lab.show(f"learned_text-{arm}-{wording}-seed{seed}", scenes, made)
        rows.append({"wording": wording} | clip_measures(made, real, scenes))
    return rows


EXPERIMENT = Experiment(
    name="learned_text",
    title="A frozen text encoder against embeddings learned from scratch",
    arms=("frozen", "learned"),
    run=run,
    keys=("wording",),
    updates=600,
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
