"""Attention that trains: PyTorch's fused kernel against the formula, at the shapes of the base.

    python benchmarks/attention.py [--runs 5] [--threads 1]

Forward and backward in bf16, in turn A B A B; medians count. models/attention.py takes the formula
where a CPU trains.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from _report import headline, machine, parser, table, write
from torch import Tensor
from torch.nn import functional

from imagen_video.models.attention import attention_formula

SHAPES = {
    "60 x 60 positions": ((40, 5, 60, 64), 60, False),
    "240 positions x 32 tokens": ((40, 2, 240, 64), 32, True),
    "16 x 16 frames at 240 positions": ((960, 2, 16, 64), 16, False),
}
"""(n, heads, queries, width), keys, and whether some keys are masked."""

Attention = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Call the kernel that PyTorch chooses."""
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def seconds(attend: Attention, shape: tuple[int, ...], keys: int, masked: bool) -> float:
    """Time forward and backward once."""
    n, heads, _, width = shape
    sizes = (shape, (n, heads, keys, width), (n, heads, keys, width))
    query, key, value = (
        torch.randn(size, dtype=torch.bfloat16, requires_grad=True) for size in sizes
    )
    mask = torch.rand(n, 1, 1, keys) > 0.3 if masked else None
    if mask is not None:
        mask[..., 0] = True
    started = time.perf_counter()
    attend(query, key, value, mask).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, "attention")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    args = options.parse_args()
    args.runs = 1 if args.quick else args.runs
    torch.set_num_threads(args.threads)
    rows = []
    for name, case in SHAPES.items():
        ways = {"fused": fused, "formula": attention_formula}
        times = {way: [] for way in ways}
        for run in range(args.runs + 1):
            for way, attend in ways.items():
                took = seconds(attend, *case)
                if run:  # the first one warms up
                    times[way].append(took)
        median = {way: statistics.median(values) for way, values in times.items()}
        row = {"attention": name} | {f"{way}, ms": 1e3 * value for way, value in median.items()}
        rows.append(row | {"fused / formula": median["fused"] / median["formula"]})
    print(table(rows))
    found = [
        headline(
            f"attention, {row['attention']}",
            row["formula, ms"],
            "ms",
            row["fused / formula"],
            "fused",
        )
        for row in rows
    ]
    about = {"machine": machine(), "threads": args.threads}
    write(args.out, {**about, "rows": rows, "headline": found})


if __name__ == "__main__":
    main()
