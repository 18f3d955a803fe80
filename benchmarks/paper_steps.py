"""The distilled cascade beside its teachers in the paper's step counts, by the clock.

    python recipes/emoji.py --teachers build/teachers
    python benchmarks/paper_steps.py [--until tsr3] [--runs 3]     # 15 minutes on two cores

Teachers take 256 steps of the base, guided, and 128 of each super-resolution stage. Both are run by
`imagen-video generate`: the students before and after the teachers, who run once. Stages after
`--until` are told by the time of one call, times calls. FLOPs are counted for whole clips without
tiles; the guidance of a teacher ends where its stage says, which saves the second pass there.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from _generate import generate
from _report import ROOT, headline, machine, parser, table, write

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.distillation.comparison import ALL_DISTILLED, UNDISTILLED, Cell, cells_of
from imagen_video.distillation.cost import saving, seconds_from_one_call
from imagen_video.distillation.report_settings import Settings


def cells(teachers: Bundle, students: Bundle, base_steps: int, sr_steps: int) -> tuple[Cell, Cell]:
    """Return the teachers in so many steps, and the students in their own."""
    weight = students.spec.stages[0].sampling.guidance_weight
    settings = Settings(
        base_steps=base_steps,
        sr_steps=sr_steps,
        sampler="ddim",
        constant_weight=weight,
        oscillating_weights=None,
        own_steps=False,
    )
    found = {cell.name: cell for cell in cells_of(teachers, students, settings)}
    return found[f"{UNDISTILLED}, constant"], found[f"{ALL_DISTILLED}, constant"]


def one_call(bundle: Bundle, cell: Cell, stage: str, *, bf16: bool) -> float:
    """Return the seconds of a clip of a stage, from one call."""
    return seconds_from_one_call(cell.until(stage)[-1], bundle.network(stage).eval(), bf16=bf16)


def rows_of(
    slow: Cell, fast: Cell, clocks: dict[str, tuple[float, float]], estimated: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a stage, one for all: calls, seconds and FLOPs of teacher and student."""
    rows: list[dict[str, Any]] = []
    total = [0.0, 0.0, 0, 0]
    for teacher, student in zip(slow.links, fast.links, strict=True):
        name, found = teacher.stage.name, saving(teacher, student)
        if name not in clocks:
            continue
        seconds = clocks[name]
        parts = (*seconds, found.flops, found.student_flops)
        total = [a + b for a, b in zip(total, parts, strict=True)]
        rows.append(
            {
                "stage": name,
                "calls (passes)": f"{found.calls} ({found.passes})",
                "student's": f"{found.student_calls} ({found.student_passes})",
                "seconds": seconds[0],
                "student's seconds": seconds[1],
                "faster": seconds[0] / seconds[1],
                "FLOPs": found.flops / found.student_flops,
                "from": "one call" if name in estimated else "the clock",
            }
        )
    rows.append(
        {
            "stage": "all",
            "seconds": total[0],
            "student's seconds": total[1],
            "faster": total[0] / total[1],
            "FLOPs": total[2] / total[3],
        }
    )
    return [{key: row.get(key) for key in rows[0]} for row in rows]


def main() -> None:
    """Run both and print what they took."""
    options = parser(__doc__, "paper_steps")
    options.add_argument("--prompt", default="a panda dancing on a blue background")
    options.add_argument("--bundle", default="emoji", help="the distilled cascade")
    options.add_argument("--teachers", default=str(ROOT / "build" / "teachers"))
    options.add_argument("--base-steps", type=int, default=256)
    options.add_argument("--sr-steps", type=int, default=128)
    options.add_argument("--until", default="tsr3", help="last stage that is sampled")
    options.add_argument("--runs", type=int, default=3, help="of the students, before and after")
    args = options.parse_args()
    if args.quick:
        args.base_steps, args.sr_steps, args.until, args.runs = 2, 2, "tsr1", 1
    teachers, students = (Bundle.open(find_bundle(name)) for name in (args.teachers, args.bundle))
    slow, fast = cells(teachers, students, args.base_steps, args.sr_steps)
    names = [link.stage.name for link in slow.until(args.until)]
    weight = fast.links[0].sampling.guidance_weight
    common = ["--until", args.until, "--seed", "1", "--guidance-weight", f"{weight:g}"]
    common += ["--out", str(ROOT / "build" / "bench" / "videos")]
    steps = [f"{link.stage.name}={link.sampling.steps}" for link in slow.until(args.until)]
    asked = [*common, "--bundle", args.teachers, "--steps", ",".join(steps)]
    shipped = [*common, "--bundle", args.bundle]
    before = [generate(args.prompt, shipped)[1] for _ in range(args.runs)]
    long = generate(args.prompt, asked)[1]
    after = [generate(args.prompt, shipped)[1] for _ in range(args.runs)]
    clocks = {
        name: (
            long["stages"][index]["seconds"],
            statistics.median(run["stages"][index]["seconds"] for run in (*before, *after)),
        )
        for index, name in enumerate(names)
    }
    later = [] if args.quick else [s.name for s in teachers.spec.stages[len(names) :]]
    bf16 = before[0]["precision"] == "bf16"
    for name in later:
        pair = (
            one_call(teachers, slow, name, bf16=bf16),
            one_call(students, fast, name, bf16=bf16),
        )
        clocks[name] = pair
    rows = rows_of(slow, fast, clocks, later)
    print(table(rows))
    what = f"{args.base_steps} and {args.sr_steps} steps undistilled"
    found = [
        headline("distilled cascade", rows[-1]["student's seconds"], "s", rows[-1]["faster"], what)
    ]
    write(args.out, {"machine": machine(), "table": rows, "headline": found})


if __name__ == "__main__":
    main()
