"""A frozen text encoder against word embeddings learned from scratch.

    python experiments/learned_text.py [--updates 600] [--seeds 3] [--minutes 20]

`frozen` hears MiniLM's token states. `learned` hears a word as a 1 in the place of the word and a
1 in the place of its position: the network's own projections of both are then embeddings that
training must find. Words that no training caption has share one place. Both are asked for held-out
combinations in the corpus' words, and in other words (a table of synonyms below; none of them
occurs in a training caption).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from _bases import clip_measures
from _frame import Experiment, Row, Session, main
from _small import base
from _training import Laboratory, Training

from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.text.base import TextEmbedding, checked_prompts

WORDS = 960
"""Places for words; the last one is for all that training never says."""
POSITIONS = 64
READ = 20_000
"""Training captions that are read for their words."""
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


class OwnWords:
    """A text encoder that knows nothing: a word is two unit vectors, of itself and its position."""

    width = WORDS + POSITIONS
    max_tokens = POSITIONS

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """Give every word a place of its own.

        Args:
            vocabulary: at most `WORDS` - 1 different words.
        """
        assert len(vocabulary) < WORDS
        self._places = {word: index for index, word in enumerate(vocabulary)}

    @property
    def identity(self) -> dict[str, Any]:
        """Say what it is."""
        return {"encoder": "own words", "width": self.width}

    def place(self, word: str) -> int:
        """Return the place of a word."""
        return self._places.get(word, WORDS - 1)

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Return two unit vectors a word, side by side, `(b, l, 1024)`."""
        rows = []
        for prompt in checked_prompts(prompts):
            words = words_of(prompt)[: self.max_tokens]
            row = torch.zeros(len(words), self.width)
            for index, word in enumerate(words):
                row[index, [self.place(word), WORDS + index]] = (self.width / 2) ** 0.5
            rows.append(row)
        return TextEmbedding.from_rows(rows)


def words_of(caption: str) -> list[str]:
    """Return the words of a caption in lower case."""
    return re.findall(r"[a-z0-9]+", caption.lower())


def trained_words(store: SpriteStore) -> tuple[str, ...]:
    """Return the words of training captions, in order of the alphabet."""
    source = SceneSource(store, seed=0, split="train", kinds={"subject": 1.0})
    return tuple(sorted({word for i in range(READ) for word in words_of(source.scene(i).caption)}))


def in_other_words(caption: str) -> str:
    """Replace the words that have a synonym."""
    return re.sub(r"[A-Za-z]+", lambda found: SYNONYMS.get(found[0].lower(), found[0]), caption)


def training_of(arm: str, seed: int, lab: Laboratory) -> Training:
    """Return what an arm trains."""
    if arm == "frozen":
        return Training(stage=base(), source=None, seed=seed)
    encoder = OwnWords(trained_words(lab.store))
    stage = base(text_width=encoder.width)
    return Training(stage=stage, source=None, seed=seed, encoder=encoder, data="own words")


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Ask for the same scenes in both wordings."""
    lab = Laboratory(session)
    training = training_of(arm, seed, lab)
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
