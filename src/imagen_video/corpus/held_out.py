"""Which pairs of facts training never shows, so that the demo can be judged on unseen combinations.

A pair is (relation, subject, value): ("ground", "horse", "blue") or ("motion", "horse", "rises").
Whether it is held out depends on a hash of these three words only: not on a seed, a machine, or
which other subjects exist. Subjects that look nearly the same share one family, and the family's
name is what is hashed.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

Pair = tuple[str, str, str]

HELD_OUT_RATES: dict[str, float] = {
    "ground": 0.04,
    "motion": 0.04,
    "style": 0.06,
    "colour": 0.06,
    "beside": 0.06,
}
"""Share of all pairs of a relation that training never shows."""

NEVER_HELD_OUT = frozenset({"still", "animation"})
"""Defaults that a short prompt implies; holding them out would make a plain prompt a held-out
one."""


@lru_cache(maxsize=65536)
def is_held_out(pair: Pair) -> bool:
    """Whether training must not show a pair.

    Args:
        pair: (relation, subject family, value); the relation is a key of `HELD_OUT_RATES`.
    """
    relation, _, value = pair
    if value in NEVER_HELD_OUT:
        return False
    digest = hashlib.sha256("|".join(pair).encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_RATES[relation] * 2**64


def held_out_pairs(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The held-out ones among a scene's pairs."""
    return tuple(pair for pair in pairs if is_held_out(pair))


def beside(first: str, second: str) -> Pair:
    """The pair of two things in one scene, whichever way round."""
    one, other = sorted((first, second))
    return ("beside", one, other)
