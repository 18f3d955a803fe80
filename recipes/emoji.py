"""How the shipped `emoji` weights were made: every phase, and how to run it again.

    python recipes/emoji.py                 print the commands
    python recipes/emoji.py --run           run them all, in order (hours)
    python recipes/emoji.py --run --stage ssr1
    python recipes/emoji.py --export build/teachers     collect the runs into a bundle, and stop
    python recipes/emoji.py --teachers build/teachers   the same from the weights that are shipped
    python recipes/emoji.py --students build/students   the distilled bundle, as it ships

First every stage is trained, a phase going on with the run folder of the phase before. The bundle
of these runs is the teacher of the students that ship. Runs are resumable: give the same command
again.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from imagen_video.cascade.bundle import Bundle, save_bundle
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.distillation.assemble import stored_dtype
from imagen_video.errors import InputError
from imagen_video.presets import preset
from imagen_video.training.export import export_bundle

RUNS = Path("runs")


@dataclasses.dataclass(frozen=True)
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
    _: dataclasses.KW_ONLY
    optimizer: str = "muon"
    middle_times: float | None = None
    """A half for the base and none for the others, if not said."""
    gather_at: float = 0.56

    def command(self) -> list[str]:
        """Return the words of the command line."""
        is_base = self.stage == "base"
        middle_times = (0.5 if is_base else 0.0) if self.middle_times is None else self.middle_times
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
            "--optimizer": self.optimizer,
            "--warmup-steps": 300 if is_base else 100,
            "--middle-times": middle_times,
            "--gather-at": self.gather_at,
            "--precision": "bf16",
        }
        words = [str(word) for pair in options.items() for word in pair]
        # harmless where the optimizer stays the same
        return ["imagen-video", "train", *words, "--change-optimizer"]


PHASES: tuple[Phase, ...] = (
    # stage, updates at the end, clips, images, share of images, rate, cool-down
    Phase("base", 1392, 8, 128, 1.0, 1e-3, 0.0),
    Phase("base", 2398, 16, 128, 0.4, 1e-3, 0.0),
    Phase("base", 3600, 16, 128, 0.35, 1e-3, 0.21),
    Phase("base", 7200, 16, 128, 0.35, 1e-3, 0.25),
    Phase("base", 10400, 16, 128, 0.3, 1e-3, 0.15, middle_times=0.3),
    Phase("base", 15400, 16, 128, 0.25, 1e-3, 0.1, gather_at=0.92),
    Phase("tsr1", 800, 2, 32, 0.1, 6e-4, 0.4, optimizer="adamw"),
    Phase("tsr1", 1700, 2, 32, 0.1, 6e-4, 0.35),
    Phase("ssr1", 1800, 2, 16, 0.3, 6e-4, 0.4, optimizer="adamw"),
    Phase("ssr1", 3640, 2, 16, 0.2, 6e-4, 0.0, optimizer="adamw"),
    Phase("ssr1", 6000, 2, 16, 0.2, 1e-3, 0.25),
    Phase("ssr2", 1100, 2, 16, 0.2, 6e-4, 0.4, optimizer="adamw"),
    Phase("ssr2", 2400, 2, 16, 0.2, 6e-4, 0.25),
    Phase("ssr2", 7000, 2, 16, 0.2, 1e-3, 0.22),
    Phase("tsr2", 800, 2, 16, 0.05, 6e-4, 0.4, optimizer="adamw"),
    Phase("tsr2", 1500, 2, 16, 0.05, 6e-4, 0.35),
    Phase("tsr2", 2400, 2, 16, 0.0, 6e-4, 0.2),
    Phase("tsr3", 800, 2, 16, 0.05, 6e-4, 0.4, optimizer="adamw"),
    Phase("tsr3", 1500, 2, 16, 0.05, 6e-4, 0.35),
    Phase("tsr3", 3000, 2, 16, 0.0, 6e-4, 0.15),
    Phase("ssr3", 600, 4, 16, 0.2, 6e-4, 0.4, optimizer="adamw"),
    Phase("ssr3", 1600, 4, 16, 0.2, 6e-4, 0.35),
    Phase("ssr3", 3300, 4, 16, 0.2, 6e-4, 0.25),
)
"""Images first, then clips with images mixed in; AdamW, then Muon (docs/lab-notes.md).

The base ran as two processes of one thread each (`torchrun --nproc-per-node 2 -m imagen_video
train ...`), which changes its speed and not what it learns. Its last three phases were runs of
their own, of 3,600, 3,200 and 5,000 updates, each with a warm-up, that began with the weights of
the phase before (`--init-from`): the first drew the scenes of the first 3,600 updates again, the
others new ones (`--seed 1`, `--seed 2`). Only since the last but one the base knows the place of a
frame. The last phase of `ssr2` was such a run too, of 4,600 updates.

In their first phase the stages from 192x320 on had an RMS norm without mean, and until their last
phase `tsr2`, `tsr3` and `ssr3` an `augmentation_max_t` of 0.3.
"""


TEACHERS, STUDENTS = Path("build/teachers"), Path("build/students")
DISTILLATION: tuple[tuple[str, str], ...] = (
    (
        "base",
        "--from 16 --to 16 --weights 0 6 --updates-per-round 900 --learning-rate 6e-4 --clips 8",
    ),
    (
        "base",
        "--from 16 --to 8 --weights 0 6 --updates-per-round 700 --learning-rate 3e-4 --clips 8",
    ),
    ("ssr1", "--from 4 --to 1 --updates-per-round 200 --learning-rate 3e-4 --clips 4"),
    ("ssr2", "--from 4 --to 1 --updates-per-round 120 --learning-rate 3e-4 --clips 4"),
)
"""Stage and options. The other four stages take one call without guidance as they are, and their
features are farther from real ones with two (docs/lab-notes.md): nothing is left to distil.

The student of ssr2 was made in fp32, on a processor that emulates bf16.
"""
STUDENT_WEIGHT = 4.5
"""w of the shipped base, chosen on 64 clips through ssr1 (docs/lab-notes.md)."""
TEACHER_BLOBS = {
    "base": "7427b431b8c74c142121be0cdcb523b23ba5eef9",
    "ssr1": "45fe6985c1d46ed20e8fdc84af555d85eb886cff",
    "ssr2": "3f0e9647e5e9fd30af5375d7bdb0464b8984f8d4",
}
"""Weights of the teachers in the history of the repository: every clone has them there, and a
second time in its tree they would weigh as much as half of what ships."""


def distillation(stage: str, options: str) -> list[str]:
    """Return the words of a command line."""
    words = ["imagen-video", "distill", "--bundle", str(TEACHERS), "--stage", stage]
    words += ["--run-dir", str(RUNS / "distilled"), *options.split(), "--optimizer", "muon"]
    return [*words, "--precision", "fp32" if stage == "ssr2" else "bf16"]


def run(words: list[str]) -> None:
    """Print a command of ours and run it."""
    print(" ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", "imagen_video", *words[1:]], check=True)


def export(out: Path) -> None:
    """Collect the run folders into a bundle."""
    cascade = preset("emoji")
    runs = {
        stage.name: RUNS / stage.name for stage in cascade.stages if (RUNS / stage.name).is_dir()
    }
    print(export_bundle(cascade, runs, out, {"recipe": "recipes/emoji.py"}).path)


def undistilled(out: Path) -> None:
    """Lay the teachers that the repository keeps over the shipped weights."""
    root = Path(__file__).parents[1]
    found = {stage: history(root, blob) for stage, blob in TEACHER_BLOBS.items()}
    shutil.copytree(find_bundle("emoji"), out)
    shutil.copytree(root / "teachers" / "emoji", out, dirs_exist_ok=True)
    for stage, content in found.items():
        (out / stage / "model.safetensors").write_bytes(content)
    bundle = Bundle.open(out)
    for stage in bundle.spec.stages:
        bundle.check_weights(stage.name)
    print(bundle.path)


def history(root: Path, blob: str) -> bytes:
    """Return a file of the repository's history.

    Raises:
        InputError: if this clone does not have it.
    """
    command = ["git", "-C", str(root), "cat-file", "blob", blob]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise InputError(
            f"file {blob[:12]} of the history of {root}",
            done.stderr.decode(errors="replace").strip()[:120],
            "a clone with its whole history",
            "`git fetch --unshallow`, then give the command again",
        )
    return done.stdout


def distilled(out: Path) -> None:
    """Write the bundle of all students, with the weight that its base is guided by."""
    bundle = Bundle.open(RUNS / "distilled" / "bundle")
    base = bundle.spec.stages[0]
    sampling = dataclasses.replace(base.sampling, guidance_weight=STUDENT_WEIGHT)
    stages = (dataclasses.replace(base, sampling=sampling), *bundle.spec.stages[1:])
    networks = {stage.name: bundle.network(stage.name) for stage in stages}
    provenance = {key: value for key, value in bundle.provenance.items() if key != "sha256"}
    spec = dataclasses.replace(bundle.spec, stages=stages)
    made = save_bundle(out, spec, networks, provenance=provenance, dtype=stored_dtype(bundle))
    print(made.path)


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
    parser.add_argument("--teachers", type=Path, help="write the undistilled bundle and stop")
    parser.add_argument("--students", type=Path, help="write the distilled bundle and stop")
    options = parser.parse_args()
    if options.students is not None:
        distilled(options.students)
        return 0
    if options.teachers is not None:
        undistilled(options.teachers)
        return 0
    if options.export is not None:
        export(options.export)
        return 0
    act = run if options.run else lambda words: print(" ".join(words))
    for phase in PHASES:
        if options.stage in (None, phase.stage):
            act(phase.command())
    if options.run:
        export(TEACHERS)
    else:
        print(f"python recipes/emoji.py --export {TEACHERS}")
    for stage, settings in DISTILLATION:
        if options.stage in (None, stage):
            act(distillation(stage, settings))
    if options.run:
        distilled(STUDENTS)
    else:
        print(f"python recipes/emoji.py --students {STUDENTS}")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
