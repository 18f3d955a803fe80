"""What a batch costs beside the bare pipeline, on one machine: samples an hour of both.

    python benchmarks/batch.py [--bundle emoji] [--until ssr1] [--samples 4] [--rounds 3]

Bare is `pipeline.run` and the writing of the MP4, all weights in memory. Both run in this process
and take turns, so that other work on the machine is shared by them; the first round is not counted.
The batch is the whole command: reading the prompts, loading the weights, the manifest.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from _report import headline, machine, parser, table, write

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cli.batch import BatchOptions
from imagen_video.cli.batch_run import batch
from imagen_video.cli.generation import choose_device, choose_precision
from imagen_video.cli.settings import parse_memory
from imagen_video.distributed.sample import Sample
from imagen_video.media.video_writer import VideoWriter

PROMPTS = ("a panda dancing", "a rocket rising", "a turtle swimming", "a lion on a red background")


def main() -> None:
    """Measure and print both."""
    words = parser(__doc__, "batch")
    words.add_argument("--bundle", default="emoji")
    words.add_argument("--until", default="ssr1", help="last stage to run")
    words.add_argument("--samples", type=int, default=4, help="a round")
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--memory", default="4GB")
    args = words.parse_args()
    if args.quick:
        args.until, args.samples, args.rounds = "base", 1, 1
    taken: dict[str, list[tuple[float, float]]] = {"bare pipeline": [], "batch": []}
    with tempfile.TemporaryDirectory() as folder:
        lines = [PROMPTS[i % len(PROMPTS)] for i in range(args.samples)]
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text(
            "".join(json.dumps({"prompt": p, "id": f"s{i}"}) + "\n" for i, p in enumerate(lines)),
            encoding="utf-8",
        )
        device = choose_device("auto")
        precision = choose_precision("auto", device)
        pipeline = ImagenVideoPipeline.from_pretrained(args.bundle)
        pipeline.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        memory = parse_memory(args.memory)
        for number in range(args.rounds + 1):
            options = BatchOptions(
                prompts=prompts,
                out=Path(folder) / str(number) / "batch",
                bundle=args.bundle,
                until=args.until,
                memory=args.memory,
            )
            with _timed(taken["bare pipeline"]):
                _bare(pipeline, options, memory, lines)
            with _timed(taken["batch"]):
                batch(options)
    settled = {name: values[1:] for name, values in taken.items()}
    rows = [
        {
            "run": name,
            "seconds a sample": statistics.median(wall for wall, _ in values) / args.samples,
            "processor seconds a sample": statistics.median(cpu for _, cpu in values)
            / args.samples,
        }
        for name, values in settled.items()
    ]
    print(table(rows))
    found = []
    pairs = list(zip(*settled.values(), strict=True))
    for kind, place in (("wall", 0), ("processor", 1)):
        shares = [bare[place] / batched[place] for bare, batched in pairs]
        each = ", ".join(f"{share:.1%}" for share in shares)
        print(
            f"throughput over the bare pipeline's, {kind}: {statistics.median(shares):.1%} ({each})"
        )
        what = f"batch through {args.until}, samples an hour of {kind} time"
        hourly = 3600 * args.samples / statistics.median(batched[place] for _, batched in pairs)
        share = statistics.median(shares)
        found.append(headline(what, hourly, "1/h", share, "share of the bare pipeline's"))
    about = {"bundle": args.bundle, "until": args.until, "samples": args.samples}
    write(args.out, {"machine": machine(), **about, "seconds": settled, "headline": found})


@contextlib.contextmanager
def _timed(taken: list[tuple[float, float]]) -> Iterator[None]:
    """Note the seconds of a block: on the wall, and of this process on all cores."""
    wall, processor = time.monotonic(), time.process_time()
    yield
    taken.append((time.monotonic() - wall, time.process_time() - processor))


def _bare(
    pipeline: ImagenVideoPipeline, options: BatchOptions, memory: int | None, lines: list[str]
) -> None:
    """Make the same videos with nothing around them."""
    for number, prompt in enumerate(lines):
        settings = {"prompt": prompt, "seed": options.seed, "until": options.until}
        request = Sample(id=f"s{number}", settings=settings).request(pipeline.spec)
        path = options.out.parent / "bare" / f"s{number}.mp4"
        fps = pipeline.check(request, memory).clips[options.until or pipeline.spec.stages[-1].name]
        with VideoWriter(path, fps.fps) as writer:
            pipeline.run(
                request,
                memory=memory,
                output_type="none",
                on_frames=lambda _, frames, writer=writer: writer.write(frames[0]),
            )


if __name__ == "__main__":
    main()
