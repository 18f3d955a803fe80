"""What a user sees when something is wrong: one message with four parts.

Every error that a user can cause says where it happened, what was found, what was expected, and
what to do about it. Programmer invariants stay plain asserts; these classes are for people.
"""

from __future__ import annotations


class InputError(ValueError):
    """The user's input cannot be used. The command line exits with code 2 for it."""

    def __init__(self, where: str, got: str, expected: str, fix: str) -> None:
        """Build the four-part message.

        Args:
            where: the argument, file or stage at fault, as the user knows it.
            got: what was found there.
            expected: what would have been accepted.
            fix: what to do, as an imperative sentence.
        """
        super().__init__(f"{where}: got {got}; expected {expected}; {fix}")
        self.where = where
        self.got = got
        self.expected = expected
        self.fix = fix


class BundleError(InputError):
    """A bundle of weights is missing, damaged, or not what its spec says."""


class DataError(InputError):
    """Training data, a corpus or a text cache cannot be used."""


class MediaError(InputError):
    """A video or image file cannot be read or written."""


class MissingExtraError(InputError):
    """A part that is installed separately is not there."""


class ResourceError(InputError):
    """The machine gave out: disk full, memory too small. The command line exits with code 1."""
