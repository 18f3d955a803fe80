"""Which verb is meant, and what becomes of its errors.

`imagen-video VERB ...` imports the verb's module and calls its `run(argv)`; nothing heavier than
the standard library is loaded before that, so `--help` and `--version` answer at once. What the
options of a verb mean is the verb module's business.

Exit codes: 0 done; 1 our fault or the machine's (disk, memory, a bug); 2 the user's input; 130
Ctrl-C; 141 nobody reads our output any more.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from imagen_video import __version__
from imagen_video.cascade.memory import keep_freed
from imagen_video.errors import InputError, ResourceError

PROGRAM = "imagen-video"
DEBUG_VARIABLE = "IMAGEN_VIDEO_DEBUG"

# Verb -> (module with `run`, one line of help). A new verb is one row here and one module.
VERBS: dict[str, tuple[str, str]] = {
    "generate": ("imagen_video.cli.generate", "Turn a sentence into a video."),
    "batch": ("imagen_video.cli.batch", "Make the videos of a file of prompts, here or on Ray."),
    "serve": ("imagen_video.cli.serve", "Serve a web page and an HTTP API."),
    "train": ("imagen_video.cli.train", "Train one stage of a cascade."),
    "data": (
        "imagen_video.cli.data",
        "Check your own clips, and make training shards of them.",
    ),
    "plan": ("imagen_video.cli.plan", "Predict the memory of training, and print the command."),
    "export": ("imagen_video.cli.export", "Collect run folders into a bundle."),
    "distill": (
        "imagen_video.cli.distill",
        "Make a cascade sample in a few steps; distill report compares.",
    ),
    "evaluate": ("imagen_video.cli.evaluate", "Measure the videos of a cascade by a protocol."),
    "corpus": ("imagen_video.cli.corpus", "Build and look at the demo's training corpus."),
    "inspect": (
        "imagen_video.cli.inspect",
        "Show the stages, size and cost of a preset or bundle.",
    ),
    "doctor": (
        "imagen_video.cli.doctor",
        "See whether everything works here, and what to report if not.",
    ),
}

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after the program's name; None takes them from the process.

    Returns:
        The exit code. Never raises an error of ours: each becomes a message on stderr.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(usage(), file=sys.stderr)
        return EXIT_BAD_INPUT
    if words[0] in ("-h", "--help", "help"):
        print(usage())
        return EXIT_DONE
    if words[0] in ("-V", "--version"):
        print(f"{PROGRAM} {__version__}")
        return EXIT_DONE
    keep_freed()
    return guarded(lambda: load_verb(words[0])(words[1:]))


def usage() -> str:
    """Return the top-level help, built from the table of verbs."""
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items())
    return (
        f"usage: {PROGRAM} [--help] [--version] VERB ...\n\n"
        f"Text to video with a cascade of diffusion models.\n\n"
        f"verbs:\n{rows}\n\n"
        f"`{PROGRAM} VERB --help` shows the options of one. Try:\n"
        f'  {PROGRAM} generate "a panda dancing on a blue background" --out demo --seed 1'
    )


def load_verb(name: str) -> Callable[[list[str]], int]:
    """Import the module of one verb.

    Args:
        name: the verb as typed.

    Returns:
        The module's `run`.

    Raises:
        InputError: if there is no such verb.
    """
    if name not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(name, VERBS, n=1)
        hint = f"did you mean `{PROGRAM} {near[0]}`?" if near else f"see `{PROGRAM} --help`"
        raise InputError("command", repr(name), "one of " + ", ".join(VERBS), hint)
    return import_module(VERBS[name][0]).run


def guarded(action: Callable[[], int]) -> int:
    """Run an action and turn what it raises into a message and an exit code.

    With IMAGEN_VIDEO_DEBUG=1 the traceback is printed as well. SystemExit (a usage error found by
    the option parser, or its --help) passes through.
    """
    try:
        return action()
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has gone. Closing stdout again at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        # The outermost edge: whatever it is, a person reads one message, not forty frames.
        return report(error)


def report(error: Exception) -> int:
    """Print one error for a person and return its exit code."""
    debug = os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    if debug:
        import traceback

        traceback.print_exception(error)
    known = error if isinstance(error, InputError) else machine_gave_out(error)
    if known is not None:
        say(f"error: {known}")
        return EXIT_FAILED if isinstance(known, ResourceError) else EXIT_BAD_INPUT
    say(f"error: unexpected {type(error).__name__}: {error}")
    if not debug:
        say(f"this is a bug; set {DEBUG_VARIABLE}=1 and run the same command to see where")
    return EXIT_FAILED


def machine_gave_out(error: Exception) -> ResourceError | None:
    """Recognise a full disk or exhausted memory that nobody has named yet.

    Args:
        error: anything that reached the edge of the program.

    Returns:
        The four-part error, or None if this is something else.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = str(error.filename or "disk")
        return ResourceError(
            where, "no space left", "room to write", "free some or choose another --out"
        )
    # torch has its own out-of-memory class on a GPU and a bare RuntimeError on the CPU; asking for
    # either by type would import torch.
    out_of_memory = (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator: can't allocate memory" in str(error)
    )
    if out_of_memory:
        got = str(error).strip().splitlines()
        return ResourceError(
            "memory",
            got[0] if got else "an allocation that failed",
            "enough free memory for the run",
            "close other programs or lower the memory limit, resolution or batch size",
        )
    return None


def say(message: str) -> None:
    """Print one line for a person, on stderr so that stdout stays machine-readable."""
    print(f"{PROGRAM}: {message}", file=sys.stderr)
