"""Write the built-in prompt sets of `imagen-video evaluate` from the corpus.

python docs/make_prompt_sets.py [CORPUS]

The same corpus gives the same files. A change of the prompts is a new version and a new file.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from imagen_video.corpus.scenes import EVALUATION_SEED, Split
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.material.prompt_sets import BUILT_IN, prompt_lines

COUNT = 512
SETS: dict[str, tuple[Split, int]] = {
    "development": ("train", EVALUATION_SEED + 100),
    "held-out": ("held_out", EVALUATION_SEED),
}


def main() -> None:
    """Write both sets."""
    store = SpriteStore.open(sys.argv[1] if len(sys.argv) > 1 else "build/corpus")
    for name, (split, seed) in SETS.items():
        text = prompt_lines(store, name=name, version=1, split=split, seed=seed, count=COUNT)
        path = Path(str(files("imagen_video.evaluation.material"))) / "prompts" / BUILT_IN[name]
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
