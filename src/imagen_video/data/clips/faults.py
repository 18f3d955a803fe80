"""What is wrong with one clip, in a few words that can be counted and a sentence that helps."""

from __future__ import annotations

import dataclasses

from imagen_video.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropped:
    """A file, row or member that will not be trained on, and why."""

    id: str
    """As in `Record.id`, or `table.csv line 7`."""
    reason: str
    """A few words, the same for all of its kind: "unreadable", "too short", "no caption"."""
    detail: str = ""
    """What exactly was found."""


class ClipError(DataError):
    """One clip cannot be used; the others can. `reason` is what `Dropped.reason` will say."""

    def __init__(self, reason: str, where: str, got: str, expected: str, fix: str) -> None:
        """Build the four-part message.

        Args:
            reason: a few words, the same for all clips with this fault.
            where: the clip's id, or the label's place.
            got: what was found there.
            expected: what would have been accepted.
            fix: what to do, as an imperative sentence.
        """
        super().__init__(where, got, expected, fix)
        self.reason = reason

    def dropped(self, ident: str) -> Dropped:
        """Return this as an entry of a report, about the clip `ident`."""
        place = "" if self.where == ident else f"{self.where}: "
        detail = f"{place}got {self.got}; expected {self.expected}; {self.fix}"
        return Dropped(id=ident, reason=self.reason, detail=detail)


class LabelError(ClipError):
    """A label that cannot be used."""


def printable(text: str) -> str:
    """Return a stranger's file name with what would upset a terminal or a log written out."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )
