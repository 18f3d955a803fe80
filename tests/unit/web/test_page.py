from __future__ import annotations

import dataclasses
import re
import types

import gradio as gr
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.request import Progress
from imagen_video.distillation.rounds import student_stage
from imagen_video.web import page, page_html
from imagen_video.web.jobs import JobView, StageDone, State
from imagen_video.web.page_events import PAGE_RESULTS, PageEvents
from imagen_video.web.server import guarded
from imagen_video.web.service import Service
from unit.web.web_services import HeldPipeline, ended, made, settings, talk_to

NAMES = ["base", "tsr1", "ssr1"]
FORM = ("tsr1", "7", "", 2.0, 4.0, 2, 2, 2)
"""Until, seed, negative prompt, weight, memory, steps by stage: the small cascade's own."""


def view(state: State = State.RUNNING, **changes: object) -> JobView:
    progress = Progress(stage="tsr1", index=1, num_stages=3, done=1, total=4, seconds=2.0)
    finished = (StageDone(name="base", seconds=1.0, clip="4x4x6"),)
    values = {"settings": settings(), "progress": progress, "finished": finished} | changes
    return JobView(id="0" * 32, state=state, created=0.0, **values)  # type: ignore[arg-type]


@pytest.fixture
def local(app: FastAPI, page_service: Service) -> TestClient:
    return talk_to(guarded(app, page_service))


def test_the_page_loads_and_names_no_other_server_and_no_path(
    local: TestClient, page_service: Service
) -> None:
    for path in ("/", "/config"):
        text = local.get(path).text
        assert "imagen-video" in text
        assert str(page_service.gallery.root) not in text
        assert str(page_service.gallery.root.parent) not in text
    page = local.get("/").text
    loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(https?://[^\"]+)", page)
    assert not [url for url in loaded if "127.0.0.1" not in url and "preconnect" not in url]


def test_no_event_of_the_page_is_in_gradios_api(local: TestClient) -> None:
    config = local.get("/config").json()
    assert config["dependencies"]
    for event in config["dependencies"]:
        assert event["api_visibility"] != "public"
        assert event["queue"] is False


def test_a_person_can_generate_watch_and_see_the_result(service: Service) -> None:
    events = PageEvents(service)
    identity, *_ = events.generate("a cat", *FORM)
    done = ended(service, identity)
    assert done.settings.until == "tsr1"
    assert done.settings.steps == {}
    shown, timer, status, previews, stop = events.look(identity, "")
    assert "Done" in status
    assert previews.count("<video") == 3  # the result, and each stage
    assert not timer.active
    assert not stop.interactive
    again = events.look(identity, shown)
    assert again[3] == gr.skip()


def test_changed_steps_and_weight_are_asked_for(service: Service) -> None:
    identity, *_ = PageEvents(service).generate("a cat", "base", "", "a dog", 3.0, 4.0, 4, 2, 2)
    wanted = ended(service, identity).settings
    assert wanted.steps == {"base": 4}
    assert wanted.guidance_weight == 3.0
    assert wanted.negative_prompt == "a dog"
    assert wanted.seed is not None


@pytest.mark.parametrize(
    ("prompt", "seed", "message"),
    [("", "", "prompt"), ("a\x00", "", "U+0000"), ("a", "-1", "seed"), ("a", "9" * 30, "seed")],
)
def test_a_mistake_is_a_message(prompt: str, seed: str, message: str, service: Service) -> None:
    *others, notice = PageEvents(service).generate(prompt, "base", seed, *FORM[2:])
    assert message in notice
    assert others == [gr.skip()] * 7


def test_stop_on_the_page_stops(held: HeldPipeline, held_service: Service) -> None:
    events = PageEvents(held_service)
    identity, *_, stop, _, _ = events.generate("a cat", *FORM)
    assert stop.interactive
    assert held.is_held.wait(30)
    events.stop(identity, "")
    held.go.set()
    assert ended(held_service, identity).state is State.STOPPED
    assert "Stopped" in events.look(identity, "")[2]


def test_the_gallery_has_pages_and_opens_results(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = PageEvents(service)
    assert "Nothing here yet" in events.list_results(0)[1]
    first, second = (made(service, seed=seed, until="tsr1").id for seed in range(2))
    monkeypatch.setattr("imagen_video.web.page_events.PAGE_RESULTS", 1)
    page, cards, pager = events.list_results(0)
    assert second in cards
    assert first not in cards
    assert pager.visible
    page, cards, _ = events.older(page)
    assert first in cards
    assert events.older(page)[0] == page == 1
    assert PAGE_RESULTS > 1
    identity, details, panel, stages, until = events.open_result(gr.EventData(None, {"id": first}))
    assert identity == first
    assert "settings.json" in details
    assert panel.visible
    assert [name for name, _ in stages.choices] == NAMES  # what can be made from what is kept
    assert until.value == "tsr1"


def test_a_result_is_rerolled_and_its_settings_fill_the_form(service: Service) -> None:
    events = PageEvents(service)
    first = made(service, until="tsr1", steps={"tsr1": 3})
    identity, *_ = events.reroll(first.id, "tsr1", "ssr1", "12", "4")
    done = ended(service, identity)
    assert done.state is State.DONE, done.error
    assert done.settings.seed == 12
    assert done.settings.steps == {"tsr1": 4}
    assert done.settings.result == first.id
    _, prompt, until, seed, *_, base, tsr1, ssr1 = events.fill(first.id)
    assert (prompt, until, seed, base, tsr1, ssr1) == ("a cat", "tsr1", "1", 2, 3, 2)


def test_texts_of_people_are_escaped_everywhere(service: Service) -> None:
    evil = '<script>x</script>{{#if}}${1}`"'
    shown = page_html.status(view(settings=settings(evil)), NAMES, None)
    made_view = made(service, prompt=evil, negative_prompt=evil, until="base")
    result = service.gallery.get(made_view.id)
    assert result is not None
    shown += page_html.gallery([result], 1) + page_html.details(result, service.spec)
    shown += page_html.header(evil)
    assert "&lt;script&gt;" in shown
    for bad in ("<script", "{{", "${", "`"):
        assert bad not in shown


def test_the_status_says_where_a_job_is() -> None:
    assert "next in line" in page_html.status(view(State.QUEUED), NAMES, None)
    assert "2 before it" in page_html.status(view(State.QUEUED, position=2), NAMES, None)
    running = page_html.status(view(), NAMES, 65.0)
    assert "tsr1, step 1 of 4, about 1 min 05 s left" in running
    assert "width:41.7%" in running
    assert "about 6 s left of this stage" in page_html.status(view(), NAMES, None)
    assert "no room" in page_html.status(view(State.FAILED, error="no room"), NAMES, None)


def test_previews_show_what_is_done_and_what_is_to_come() -> None:
    shown = page_html.previews(view(), NAMES)
    assert shown.count("<video") == 1
    assert shown.count("iv-blank") == 2
    assert shown.count("iv-runs") == 1
    stopped = page_html.previews(view(State.STOPPED), NAMES)
    assert "iv-blank" not in stopped
    assert "video.mp4" not in stopped


def test_a_job_that_only_the_gallery_remembers_is_shown(service: Service) -> None:
    identity = made(service).id
    service.queue._jobs.clear()
    _, _, status, previews, _ = PageEvents(service).look(identity, "")
    assert "Done" in status
    assert previews.count("<video") == 1


def test_results_of_another_cascade_do_not_disturb(service: Service) -> None:
    identity = made(service, until="base").id
    result = service.gallery.get(identity)
    assert result is not None
    foreign = result.settings.model_copy(update={"until": "ssr9"})
    service.gallery._results[identity] = result.model_copy(update={"settings": foreign})
    service.queue._jobs.clear()
    assert "Done" in PageEvents(service).look(identity, "")[2]
    opened = PageEvents(service).open_result(gr.EventData(None, {"id": identity}))
    assert opened[0] == identity


def test_what_a_distilled_stage_was_made_for_cannot_be_moved_on_the_page(service: Service) -> None:
    spec = service.spec
    made_for = DistilledSpec(sampler="ddim", steps=8, max_weight=6.0)
    base = student_stage(
        dataclasses.replace(
            spec.stages[0],
            sampling=dataclasses.replace(spec.stages[0].sampling, guidance_weight=3.0),
        ),
        made_for,
    )
    distilled = dataclasses.replace(spec, stages=(base, *spec.stages[1:]))
    shown = types.SimpleNamespace(spec=distilled, limits=service.limits)
    negative, weight, _, *steps = page._expert(shown)  # type: ignore[arg-type]
    assert not negative.visible
    assert isinstance(weight, gr.Slider)
    assert (weight.minimum, weight.maximum, weight.value) == (0, 6, 3)
    assert [slider.interactive for slider in steps] == [False, True, True]
    assert steps[0].value == 8
