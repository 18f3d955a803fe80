"""The page: three tabs around one service. What happens in it is in `page_events.py`."""

from __future__ import annotations

import dataclasses

import gradio as gr
from gradio.components import Component

from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.web import page_html
from imagen_video.web.page_events import PageEvents
from imagen_video.web.page_style import OPEN_SCRIPT, UPLOAD_SCRIPT
from imagen_video.web.service import Service

EXAMPLES = (
    "a panda dancing on a blue background",
    "a rocket on a night sky gradient background",
    "a turtle swimming",
    "a red cube rotating on a white background",
)
_SECONDS_BETWEEN_LOOKS = 1.0
_UPLOAD_FIELD = (
    '<label class="iv-drop" data-most="%d">Choose a clip (MP4, WebM, GIF) '
    '<input type="file" accept="video/*,image/gif,image/webp" aria-label="clip"></label>'
    '<p role="status"></p>'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Live:
    """What shows the job that this browser watches."""

    job: gr.BrowserState
    """Its name, kept by the browser: a reload goes on watching."""
    shown: gr.State
    """What the previews show now; they are only sent when that changes."""
    timer: gr.Timer
    status: gr.HTML
    previews: gr.HTML
    stop: gr.Button
    tabs: gr.Tabs
    notice: gr.HTML
    """What was wrong with the last request."""

    @property
    def looks(self) -> list[Component]:
        """Everything that a look at the job may change."""
        return [self.shown, self.timer, self.status, self.previews, self.stop]

    @property
    def submits(self) -> list:
        """Everything that a new job changes."""
        return [self.job, *self.looks, self.tabs, self.notice]


def build_page(service: Service) -> gr.Blocks:
    """Build the page of a service."""
    events = PageEvents(service)
    with gr.Blocks(title="imagen-video", analytics_enabled=False) as page:
        gr.HTML(page_html.header(service.bundle))
        notice = gr.HTML("", elem_id="notice")
        with gr.Tabs() as tabs:
            with gr.Tab("Create", id="create"):
                live, fields = _create(service, events, tabs, notice)
            with gr.Tab("Gallery", id="gallery") as gallery:
                opened = _gallery(service, events, live)
            with gr.Tab("Upload a clip", id="upload"):
                _upload(service, events, live)
        _fill_again(events, opened, fields, tabs)
        gallery.select(events.list_results, opened.page, opened.lists, **_quick("hidden"))
        page.load(events.look_anew, live.job, live.looks, **_quick("hidden"))
        live.timer.tick(events.look, [live.job, live.shown], live.looks, **_quick("hidden"))
    return page


def _quick(progress: str = "minimal") -> dict:
    """Return the options of every event: answered at once, outside gradio's own queue and API."""
    return {"queue": False, "show_progress": progress, "api_visibility": "private"}


def _create(
    service: Service, events: PageEvents, tabs: gr.Tabs, notice: gr.HTML
) -> tuple[Live, list[Component]]:
    spec, limits = service.spec, service.limits
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            prompt = gr.Textbox(
                label="Prompt", lines=2, max_length=limits.prompt_characters, elem_id="prompt"
            )
            gr.Examples([[text] for text in EXAMPLES], prompt, label="Examples")
            until = gr.Dropdown(
                _stages(spec.stages), value=_preview_stage(spec), label="Until which stage"
            )
            seed = _seed()
            with gr.Accordion("Expert", open=False):
                expert = _expert(service)
            with gr.Row():
                start = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
        with gr.Column(scale=3, min_width=360):
            status = gr.HTML(page_html.status(None, [], None), elem_id="status")
            previews = gr.HTML("", elem_id="previews")
    live = Live(
        job=gr.BrowserState("", storage_key="imagen-video-job"),
        shown=gr.State(""),
        timer=gr.Timer(_SECONDS_BETWEEN_LOOKS, active=False),
        status=status,
        previews=previews,
        stop=stop,
        tabs=tabs,
        notice=notice,
    )
    fields = [prompt, until, seed, *expert]
    for event in (start.click, prompt.submit):
        event(events.generate, fields, live.submits, **_quick())
    stop.click(events.stop, [live.job, live.shown], live.looks, **_quick())
    return live, fields


def _expert(service: Service) -> list[Component]:
    """Return negative prompt, guidance weight, memory, and the steps of every stage.

    What a distilled stage was made for can be seen and not moved.
    """
    base, limits = service.spec.stages[0], service.limits
    negative = gr.Textbox(
        label="Negative prompt",
        max_length=limits.prompt_characters,
        visible=not base.takes_weight,
    )
    low, high = (
        (0.0, 30.0)
        if base.distilled is None
        else (base.distilled.min_weight, base.distilled.max_weight)
    )
    weight = gr.Slider(
        low,
        high,
        value=base.sampling.guidance_weight,
        step=0.5,
        label="Guidance weight w (0 = off)",
        interactive=low < high,
    )
    most = 64.0 if limits.memory is None else limits.memory / 1e9
    memory = gr.Slider(
        0.5, max(most, 0.5), value=max(most, 0.5), step=0.5, label="Memory, GB (less: more tiles)"
    )
    steps = [
        gr.Slider(
            1,
            limits.steps,
            value=stage.sampling.steps,
            step=1,
            label=f"Steps {stage.name}",
            interactive=stage.distilled is None or stage.distilled.steps is None,
        )
        for stage in service.spec.stages
    ]
    return [negative, weight, memory, *steps]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """The gallery and the result that is open in it."""

    page: gr.State
    """Number of the page, from 0."""
    identity: gr.State
    """Name of the open result; empty for none."""
    cards: gr.HTML
    pager: gr.Row
    details: gr.HTML
    panel: gr.Column
    fill: gr.Button

    @property
    def lists(self) -> list:
        """What listing changes."""
        return [self.page, self.cards, self.pager]


def _gallery(service: Service, events: PageEvents, live: Live) -> Opened:
    spec = service.spec
    page, identity = gr.State(0), gr.State("")
    with gr.Column(visible=False, elem_id="details") as panel:
        details = gr.HTML("")
        with gr.Row():
            from_stage = gr.Dropdown(
                [stage.name for stage in spec.stages],
                value=spec.stages[0].name,
                label="Again from",
            )
            until = gr.Dropdown(
                [stage.name for stage in spec.stages],
                value=spec.stages[-1].name,
                label="Until",
            )
            seed = _seed()
            steps = gr.Textbox(label="Its steps", placeholder="as before", max_length=4)
        with gr.Row():
            again = gr.Button("Re-roll", variant="primary", elem_id="reroll")
            fill = gr.Button("Use these settings")
            close = gr.Button("Close")
    cards = gr.HTML("", elem_id="gallery", js_on_load=OPEN_SCRIPT)
    with gr.Row(visible=False) as pager:
        newer, older = gr.Button("Newer", size="sm"), gr.Button("Older", size="sm")
    opened = Opened(
        page=page,
        identity=identity,
        cards=cards,
        pager=pager,
        details=details,
        panel=panel,
        fill=fill,
    )
    cards.click(events.open_result, None, [identity, details, panel, from_stage, until], **_quick())
    close.click(events.close_result, None, [identity, panel], **_quick())
    newer.click(events.newer, page, opened.lists, **_quick())
    older.click(events.older, page, opened.lists, **_quick())
    wanted = [identity, from_stage, until, seed, steps]
    again.click(events.reroll, wanted, live.submits, **_quick())
    return opened


def _fill_again(
    events: PageEvents,
    opened: Opened,
    fields: list[Component],
    tabs: gr.Tabs,
) -> None:
    opened.fill.click(events.fill, opened.identity, [tabs, *fields], **_quick())


def _upload(service: Service, events: PageEvents, live: Live) -> None:
    later = service.spec.stages[1:]
    if not later:
        gr.HTML("<p>This cascade has one stage only: it makes videos, and enlarges none.</p>")
        return
    limits = service.limits
    gr.HTML(
        "<p>Stages after the base make more pixels (ssr) or more frames (tsr) of any clip. "
        f"At most {limits.upload_bytes // 10**6} MB and {limits.upload_seconds:g} seconds; "
        "the clip is cropped and cut to what the first stage takes.</p>"
    )
    clip = gr.State("")
    field = gr.HTML(_UPLOAD_FIELD % limits.upload_bytes, elem_id="clip", js_on_load=UPLOAD_SCRIPT)
    prompt = gr.Textbox(label="What the clip shows", max_length=limits.prompt_characters)
    with gr.Row():
        first = gr.Dropdown(_stages(later), value=later[-1].name, label="First stage")
        until = gr.Dropdown(_stages(later), value=later[-1].name, label="Last stage")
        seed = _seed()
    start = gr.Button("Run on the clip", variant="primary", elem_id="enlarge")
    field.upload(events.uploaded, None, clip, **_quick("hidden"))
    start.click(events.enlarge, [clip, prompt, first, until, seed], live.submits, **_quick())


def _seed() -> gr.Textbox:
    return gr.Textbox(label="Seed", placeholder="a new one each time", max_length=20)


def _stages(stages: tuple[StageSpec, ...]) -> list[tuple[str, str]]:
    return [(page_html.stage_label(stage), stage.name) for stage in stages]


def _preview_stage(spec: CascadeSpec) -> str:
    """Return the stage to stop at unless told: the one before a last and costly enlargement."""
    last = spec.stages[-1]
    return spec.stages[-2].name if last.kind == "ssr" and len(spec.stages) > 1 else last.name
