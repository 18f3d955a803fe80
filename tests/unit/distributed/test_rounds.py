"""Every sample ends as made or as listed, whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from imagen_video.distributed.attempts import FOLDER, Attempts, ProcessDiedError
from imagen_video.distributed.manifest import Manifest
from imagen_video.distributed.rounds import run_rounds
from imagen_video.distributed.sample import Failed, Outcome, Sample
from imagen_video.errors import ResourceError
from unit.distributed.batch_samples import failed, made, sample

SAMPLES = [sample(name) for name in "abc"]


class Runs:
    """Makes every sample, but for what `say` says of it at an attempt."""

    def __init__(self, folder: Path, say: Callable[[str, int], Outcome | str | None]) -> None:
        self.folder, self.say = folder, say
        self.asked: list[list[str]] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Outcome]:
        self.asked.append([one.id for one in samples])
        for one in samples:
            said = self.say(one.id, len(self.asked))
            if isinstance(said, Failed):
                yield said
            elif said != "lost":
                yield made(self.folder, one.id)


def rounds(run: Runs, retries: int) -> list[Failed]:
    with Manifest(run.folder).opened() as manifest:
        return run_rounds(run, SAMPLES, manifest, retries=retries)


def finished(folder: Path) -> set[str]:
    return Manifest(folder).finished(SAMPLES)


def test_a_failed_sample_is_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    run = Runs(tmp_path, lambda name, attempt: failed(name) if (name, attempt) == ("b", 1) else "")
    assert not rounds(run, retries=2)
    assert run.asked == [["a", "b", "c"], ["b"]]
    assert finished(tmp_path) == {"a", "b", "c"}


def test_a_sample_that_always_fails_is_listed_with_its_error(tmp_path: Path) -> None:
    run = Runs(tmp_path, lambda name, attempt: failed(name) if name == "b" else "")
    assert [(one.id, one.error) for one in rounds(run, retries=2)] == [("b", "it broke")]
    assert run.asked == [["a", "b", "c"], ["b"], ["b"]]
    assert finished(tmp_path) == {"a", "c"}
    assert Manifest(tmp_path).entries()["b"]["status"] == "failed"


def test_a_mistake_of_the_user_is_not_tried_again(tmp_path: Path) -> None:
    run = Runs(tmp_path, lambda name, attempt: failed(name, can_retry=False) if name == "b" else "")
    assert [one.id for one in rounds(run, retries=5)] == ["b"]
    assert len(run.asked) == 1


def test_a_sample_of_which_nothing_is_heard_is_tried_again_and_then_listed(
    tmp_path: Path,
) -> None:
    run = Runs(tmp_path, lambda name, attempt: "lost" if name == "c" else "")
    lost = rounds(run, retries=1)
    assert [(one.id, one.error.split(":")[0]) for one in lost] == [("c", "nothing came back")]
    assert run.asked == [["a", "b", "c"], ["c"]]


def test_a_full_disk_ends_the_batch_and_keeps_what_is_finished(tmp_path: Path) -> None:
    run = Runs(tmp_path, lambda name, attempt: failed(name, stops=True) if name == "b" else "")
    with pytest.raises(ResourceError, match="finished samples are kept"):
        rounds(run, retries=2)
    assert finished(tmp_path) == {"a"}


def test_a_video_on_another_machines_disk_is_no_video(tmp_path: Path) -> None:
    run = Runs(tmp_path / "elsewhere", lambda name, attempt: "")
    (tmp_path / "here").mkdir()
    with Manifest(tmp_path / "here").opened() as manifest:
        lost = run_rounds(run, SAMPLES[:1], manifest)
    assert "--out must be shared" in lost[0].error


def test_a_process_may_die_over_a_sample_a_few_times_and_no_more(tmp_path: Path) -> None:
    def die(attempt: int) -> None:
        """Leave the mark as a killed process does."""
        entered = Attempts(tmp_path, 2).counted("a", "base")
        assert entered.__enter__() == attempt
        mark = tmp_path / FOLDER / "a.base"
        left = mark.read_bytes()
        entered.__exit__(None, None, None)
        mark.write_bytes(left)

    for attempt in (1, 2, 3):
        die(attempt)
    with (
        pytest.raises(ProcessDiedError, match="died 3 times"),
        Attempts(tmp_path, 2).counted("a", "base"),
    ):
        pass


def test_an_answer_of_any_kind_takes_the_mark_away(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, 0)
    for _ in range(3):
        with attempts.counted("a", "base") as attempt:
            assert attempt == 1
    with pytest.raises(ZeroDivisionError), attempts.counted("a", "base"):
        raise ZeroDivisionError
    with attempts.counted("a", "base") as attempt:
        assert attempt == 1
