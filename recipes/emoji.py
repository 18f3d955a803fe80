"""How the shipped `emoji` weights were trained: every phase, and how to run it again.

    python recipes/emoji.py                 print the commands
    python recipes/emoji.py --run           run them all, in order (hours)
    python recipes/emoji.py --run --stage ssr1
    python recipes/emoji.py --export build/emoji     collect the runs into a bundle

A phase goes on with the run folder of the phase before. Runs are resumable: give the same command
again.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path

from imagen_video.presets import preset
from imagen_video.training.export import export_bundle

RUNS = Path("runs")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One command of the recipe."""

    stage: str
    steps: int
    """Updates at the end of the phase, counted from the start of the run."""
    clips: int
    images: int
    image_fraction: float
    learning_rate: float
    cooldown_fraction: float
    warmup_steps: int = 100

    def command(self) -> list[str]:
        """Return the words of the command line."""
        options = {
            "--preset": "emoji",
            "--stage": self.stage,
            "--run-dir": str(RUNS / self.stage),
            "--steps": self.steps,
            "--clips": self.clips,
            "--images": self.images,
            "--image-fraction": self.image_fraction,
            "--learning-rate": self.learning_rate,
            "--cooldown-fraction": self.cooldown_fraction,
            "--warmup-steps": self.warmup_steps,
            "--precision": "bf16",
        }
        return ["imagen-video", "train", *(str(word) for pair in options.items() for word in pair)]


PHASES: tuple[Phase, ...] = (
    Phase(
        stage="base",
        steps=2893,
        clips=4,
        images=40,
        image_fraction=1.0,
        learning_rate=5e-4,
        cooldown_fraction=0.0,
    ),
    Phase(
        stage="base",
        steps=3800,
        clips=4,
        images=40,
        image_fraction=0.4,
        learning_rate=5e-4,
        cooldown_fraction=0.33,
    ),
    Phase(
        stage="base",
        steps=4148,
        clips=4,
        images=40,
        image_fraction=0.1,
        learning_rate=4e-4,
        cooldown_fraction=0.0265,
    ),
    Phase(
        stage="tsr1",
        steps=800,
        clips=2,
        images=32,
        image_fraction=0.1,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
    Phase(
        stage="ssr1",
        steps=1800,
        clips=2,
        images=16,
        image_fraction=0.3,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
    Phase(
        stage="ssr2",
        steps=1100,
        clips=2,
        images=16,
        image_fraction=0.2,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
    Phase(
        stage="tsr2",
        steps=800,
        clips=2,
        images=16,
        image_fraction=0.05,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
    Phase(
        stage="tsr3",
        steps=800,
        clips=2,
        images=16,
        image_fraction=0.05,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
    Phase(
        stage="ssr3",
        steps=600,
        clips=4,
        images=16,
        image_fraction=0.2,
        learning_rate=6e-4,
        cooldown_fraction=0.4,
    ),
)
"""Images first, then clips with images mixed in; super-resolution stages on both from the start."""


def main() -> int:
    """Print or run the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run", action="store_true", help="run the commands instead of printing them"
    )
    parser.add_argument("--stage", help="only the phases of this stage")
    parser.add_argument("--export", type=Path, help="write a bundle from the run folders and stop")
    options = parser.parse_args()
    if options.export is not None:
        cascade = preset("emoji")
        runs = {
            stage.name: RUNS / stage.name
            for stage in cascade.stages
            if (RUNS / stage.name).is_dir()
        }
        print(export_bundle(cascade, runs, options.export, {"recipe": "recipes/emoji.py"}).path)
        return 0
    for phase in PHASES:
        if options.stage in (None, phase.stage):
            print(" ".join(phase.command()), flush=True)
            if options.run:
                subprocess.run(
                    [sys.executable, "-m", "imagen_video", *phase.command()[1:]], check=True
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
