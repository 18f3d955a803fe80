"""Jobs survive what kills the process that does one of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from imagen_video.data import workers
from imagen_video.data.workers import Failed, num_cores, run_jobs
from imagen_video.errors import ResourceError

FUNCTION = f"{__name__}:act"


def act(job: dict[str, Any]) -> Any:
    """What a job asks for; runs in a worker."""
    match job:
        case {"add": number}:
            return number + 1
        case {"die": signal}:
            os.kill(os.getpid(), signal)
        case {"sleep": seconds}:
            time.sleep(seconds)
        case {"allocate": count}:
            try:
                return len(bytes(count))
            except MemoryError:
                return "no memory"
        case {"say": text}:
            os.write(1, text.encode())
            os.write(2, text.encode())
            return os.getpid()
        case {"fail": _}:
            raise RuntimeError("a bug")
    return None


def results(jobs: list[dict[str, Any]], processes: int, **more: Any) -> dict[int, Any]:
    options = {"seconds": 60.0, **more}
    return dict(run_jobs(FUNCTION, jobs, processes=processes, **options))


def test_every_job_is_done_once_in_processes_and_without() -> None:
    jobs = [{"add": number} for number in range(7)]
    expected = {number: number + 1 for number in range(7)}
    assert results(jobs, 2) == expected
    assert results(jobs, 0) == expected
    assert results([], 2) == {}


def test_a_job_that_kills_its_process_is_named_and_the_others_are_done() -> None:
    found = results([{"add": 1}, {"die": 11}, {"die": 9}, {"fail": 1}, {"add": 2}, {"add": 3}], 1)
    assert {number: found[number] for number in (0, 4, 5)} == {0: 2, 4: 3, 5: 4}
    for number, word in ((1, "SIGSEGV"), (2, "SIGKILL"), (3, "exit code 1")):
        assert isinstance(found[number], Failed)
        assert found[number].reason == "decoder crashed"
        assert word in found[number].detail


def test_a_job_that_never_ends_is_given_up() -> None:
    start = time.monotonic()
    found = results([{"sleep": 600}, {"add": 1}], 1, seconds=0.5)
    assert found == {0: Failed(reason="took too long", detail="not done after 0.5 seconds"), 1: 2}
    assert time.monotonic() - start < 60


def test_a_job_gets_no_more_memory_than_is_allowed() -> None:
    found = results([{"allocate": 3 << 30}, {"add": 1}], 1, memory_bytes=2 << 30)
    assert found == {0: "no memory", 1: 2}


def test_what_decoders_print_is_not_shown_and_processes_are_renewed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workers, "JOBS_PER_PROCESS", 2)
    found = results([{"say": "noise"}] * 3, 1)
    assert len(set(found.values())) == 2
    assert capfd.readouterr() == ("", "")


def test_processes_that_cannot_start_are_the_machines_fault(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ResourceError, match="--workers 0"):
        list(run_jobs("imagen_video.no_such_module:x", [1], processes=1, seconds=1))
    assert "no_such_module" in capfd.readouterr().err  # what happened can be seen


def test_stopping_early_leaves_no_process(tmp_path: Path) -> None:
    import multiprocessing

    stream = run_jobs(FUNCTION, [{"add": 1}, {"sleep": 600}], processes=2, seconds=600)
    assert next(stream) == (0, 2)
    stream.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_there_is_at_least_one_core() -> None:
    assert num_cores() >= 1
