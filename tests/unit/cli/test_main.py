"""The top of the command line: verbs, exit codes, messages."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from imagen_video import __version__
from imagen_video.cli import main as command
from imagen_video.errors import BundleError, InputError, ResourceError


class Verb(ModuleType):
    """The module of a verb."""

    run: Callable[[list[str]], int]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Verb:
    """A verb named `probe` whose `run` the test sets."""
    module = Verb("probe_verb")
    monkeypatch.setitem(sys.modules, "probe_verb", module)
    monkeypatch.setitem(command.VERBS, "probe", ("probe_verb", "Only in tests."))
    return module


def raiser(error: BaseException) -> Callable[[list[str]], int]:
    def run(argv: list[str]) -> int:
        raise error

    return run


def test_a_verb_gets_the_words_after_its_name_and_its_code_is_returned(verb: Verb) -> None:
    seen: list[list[str]] = []

    def run(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    verb.run = run
    assert command.main(["probe", "a sentence", "--out", "demo"]) == 7
    assert seen == [["a sentence", "--out", "demo"]]


def test_help_goes_to_stdout_and_no_words_at_all_is_a_mistake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--help"]) == 0
    assert "usage: imagen-video" in capsys.readouterr().out
    assert command.main([]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert "usage: imagen-video" in shown.err


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"imagen-video {__version__}\n"


def test_a_mistyped_verb_is_answered_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["genrate", "a panda"]) == 2
    message = capsys.readouterr().err
    assert f"command: got 'genrate'; expected one of {', '.join(command.VERBS)};" in message
    assert "did you mean `imagen-video generate`?" in message


def test_a_sentence_in_the_place_of_the_verb_points_to_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["a panda dancing on the moon"]) == 2
    assert "see `imagen-video --help`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("--steps", "0", "at least 1", "give a larger number"), 2),
        (BundleError("model.safetensors", "a cut file", "a whole one", "fetch it again"), 2),
        (ResourceError("disk", "0 bytes", "1 GB", "free some"), 1),
        (OSError(errno.ENOSPC, "No space left on device", "out.mp4"), 1),
        (MemoryError(), 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: tried 9 bytes"), 1),
        (ZeroDivisionError("division by zero"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_becomes_a_short_message_and_a_code(
    error: BaseException, code: int, verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.run = raiser(error)
    assert command.main(["probe"]) == code
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("imagen-video: ")
    assert "Traceback" not in shown.err
    assert len(shown.err.splitlines()) <= 2


def test_a_full_disk_is_named_with_the_file_and_a_way_out(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    verb.run = raiser(OSError(errno.ENOSPC, "No space left on device", "demo/panda.mp4"))
    command.main(["probe"])
    message = capsys.readouterr().err
    assert "demo/panda.mp4: got no space left; expected" in message


def test_an_unexpected_error_says_how_to_see_where(
    verb: Verb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verb.run = raiser(KeyError("stage"))
    assert command.main(["probe"]) == 1
    assert "set IMAGEN_VIDEO_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("IMAGEN_VIDEO_DEBUG", "1")
    assert command.main(["probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_option_parsers_own_exit_passes_through(verb: Verb) -> None:
    verb.run = raiser(SystemExit(2))
    with pytest.raises(SystemExit) as stop:
        command.main(["probe", "--nonsense"])
    assert stop.value.code == 2


def test_every_verb_names_a_module_of_this_package() -> None:
    assert all(module.startswith("imagen_video.cli.") for module, _ in command.VERBS.values())
    assert all(line.endswith(".") for _, line in command.VERBS.values())
