from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagen_video.errors import InputError
from imagen_video.web import jobs
from imagen_video.web.jobs import Job, JobQueue, QueueFullError, State
from imagen_video.web.service import Service
from unit.web.web_services import HeldPipeline, ended, made, settings


def test_a_job_goes_through_its_states_and_ends_in_the_gallery(
    held: HeldPipeline, held_service: Service
) -> None:
    view = held_service.submit(settings())
    assert view.state is State.QUEUED
    assert held.is_held.wait(30)
    running = held_service.view(view.id)
    assert running is not None
    assert running.state is State.RUNNING
    held.go.set()
    done = ended(held_service, view.id)
    assert done.state is State.DONE
    assert [stage.name for stage in done.finished] == ["base", "tsr1", "ssr1"]
    assert held_service.gallery.get(view.id) is not None


def test_jobs_wait_in_the_order_in_which_they_came(
    held: HeldPipeline, held_service: Service
) -> None:
    first = held_service.submit(settings())
    assert held.is_held.wait(30)
    waiting = [held_service.submit(settings(seed=seed)) for seed in (2, 3)]
    assert [view.position for view in waiting] == [0, 1]
    held.go.set()
    ends = [ended(held_service, view.id) for view in (first, *waiting)]
    assert [view.state for view in ends] == [State.DONE] * 3
    created = [result.id for result in held_service.gallery.newest()]
    assert created == [view.id for view in reversed(ends)]


def test_a_full_queue_refuses_and_keeps_what_it_has(
    held: HeldPipeline, held_service: Service
) -> None:
    taken = [held_service.submit(settings())]
    assert held.is_held.wait(30)
    taken += [held_service.submit(settings(seed=seed)) for seed in range(3)]
    with pytest.raises(QueueFullError, match="the queue is full"):
        held_service.submit(settings())
    held.go.set()
    assert all(ended(held_service, view.id).state is State.DONE for view in taken)


def test_stop_ends_a_running_job_at_its_next_step(
    held: HeldPipeline, held_service: Service
) -> None:
    view = held_service.submit(settings(steps={"base": 200}))
    assert held.is_held.wait(30)
    stopped = held_service.stop(view.id)
    assert stopped is not None
    assert stopped.state is State.RUNNING  # until the step is over
    held.go.set()
    last = ended(held_service, view.id)
    assert last.state is State.STOPPED
    assert last.progress is not None
    assert last.progress.done == 1
    assert held_service.gallery.get(view.id) is None
    assert made(held_service).state is State.DONE  # the thread goes on


def test_stop_takes_a_waiting_job_out_of_the_queue(
    held: HeldPipeline, held_service: Service
) -> None:
    held_service.submit(settings())
    assert held.is_held.wait(30)
    waiting = [held_service.submit(settings(seed=seed)) for seed in range(2)]
    stopped = held_service.stop(waiting[0].id)
    assert stopped is not None
    assert stopped.state is State.STOPPED
    after = held_service.view(waiting[1].id)
    assert after is not None
    assert after.position == 0


def test_stopping_often_and_at_once_is_stopping_once(
    held: HeldPipeline, held_service: Service
) -> None:
    running = held_service.submit(settings())
    assert held.is_held.wait(30)
    waiting = held_service.submit(settings())
    with ThreadPoolExecutor(16) as pool:
        names = [running.id, waiting.id] * 16
        assert all(pool.map(held_service.stop, names))
    held.go.set()
    assert ended(held_service, running.id).state is State.STOPPED
    assert ended(held_service, waiting.id).state is State.STOPPED
    again = held_service.stop(running.id)
    assert again is not None
    assert again.state is State.STOPPED
    text = held_service.metrics.text().decode()
    assert 'imagen_video_jobs_ended_total{state="stopped"} 2.0' in text


def test_stopping_what_is_done_changes_nothing(service: Service) -> None:
    done = made(service)
    after = service.stop(done.id)
    assert after is not None
    assert after.state is State.DONE
    assert service.gallery.get(done.id) is not None
    assert service.stop("f" * 32) is None


def test_a_stopped_job_shows_its_previews_and_keeps_nothing_else(
    held: HeldPipeline, held_service: Service
) -> None:
    view = held_service.submit(settings(steps={"tsr1": 50}))
    assert held.is_held.wait(30)
    held.go.set()
    while not (now := held_service.view(view.id)) or not now.finished:
        time.sleep(0.01)
    held_service.stop(view.id)
    if ended(held_service, view.id).state is State.DONE:
        pytest.skip("the machine was faster than the stop")
    assert held_service.gallery.file(view.id, "preview-base.mp4") is not None
    draft = held_service.gallery.root / f".new-{view.id}"
    assert not list(draft.glob("*.safetensors"))


def test_a_failure_is_told_without_server_paths_and_the_next_job_runs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = service.gallery.root

    def broken(*args: object, **options: object) -> None:
        raise InputError(f"writing {root}/x.mp4", "a full disk", "room", "free some")

    with monkeypatch.context() as patch:
        patch.setattr("imagen_video.web.making._keep", broken)
        view = ended(service, service.submit(settings()).id)
    assert view.state is State.FAILED
    assert view.error == "writing x.mp4: got a full disk; expected room; free some"
    assert made(service).state is State.DONE


def test_a_bug_is_told_without_any_of_its_words(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("secret in /etc/passwd")

    monkeypatch.setattr("imagen_video.web.making._keep", broken)
    view = ended(service, service.submit(settings()).id)
    assert view.error == "the server failed on this job; its log says why"


def test_old_jobs_are_forgotten_and_results_are_still_found(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_REMEMBERED", 1)
    names = [made(service, seed=seed, until="base").id for seed in range(3)]
    made(service, until="base")
    assert service.queue.view(names[0]) is None
    view = service.view(names[0])
    assert view is not None
    assert view.state is State.DONE


def test_two_devices_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def work(job: Job) -> None:
        meeting.wait()

    queue = JobQueue([work, work], most=2)
    names = ["a", "b"]
    for name in names:
        queue.submit(name, settings())
    deadline = time.monotonic() + 30
    while queue.count()[State.DONE] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    queue.close()


def test_closing_stops_what_runs_and_what_waits(held: HeldPipeline, held_service: Service) -> None:
    running = held_service.submit(settings())
    assert held.is_held.wait(30)
    waiting = held_service.submit(settings())
    held.go.set()
    assert held_service.queue.close() == 2
    for view in (running, waiting):
        after = held_service.view(view.id)
        assert after is not None
        assert after.state is State.STOPPED
    with pytest.raises(QueueFullError):
        held_service.submit(settings())
