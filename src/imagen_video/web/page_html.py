"""The parts of the page that change while a job runs, as HTML.

Everything that came from a person is escaped, also for gradio's own template languages.
"""

from __future__ import annotations

import html
import time

from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.web.gallery import POSTER, SETTINGS, SHEET, VIDEO, Result, preview_name
from imagen_video.web.jobs import JobView, State

_TEMPLATE_MARKS = {"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;", "\\": "&#92;"}
_STATE_WORDS = {
    State.QUEUED: "Waiting",
    State.RUNNING: "Running",
    State.DONE: "Done",
    State.FAILED: "Failed",
    State.STOPPED: "Stopped",
}


def safe(text: str) -> str:
    """Escape a text for HTML, template strings and Handlebars."""
    return "".join(_TEMPLATE_MARKS.get(c, c) for c in html.escape(text))


def duration(seconds: float) -> str:
    """Say how long: `8 s`, `2 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def stage_label(stage: StageSpec) -> str:
    """Name a stage by what it makes."""
    clip = stage.output
    frames = "1 frame" if clip.frames == 1 else f"{clip.frames} frames"
    return f"{stage.name}: {frames} of {clip.height}x{clip.width}, {clip.fps:g} a second"


def header(bundle: str) -> str:
    """Return the head of the page."""
    return (
        '<header class="iv-head"><h1>imagen-video</h1>'
        f"<p>Text to video, stage by stage. Weights: {safe(bundle)}.</p></header>"
    )


def notice(message: str) -> str:
    """Say what was wrong with a request."""
    return f'<p class="iv-notice" role="alert">{safe(message)}</p>'


def status(view: JobView | None, names: list[str], left: float | None) -> str:
    """Say where a job is, in a line and a bar."""
    if view is None:
        return '<p class="iv-idle">Write a prompt and press <b>Generate</b>.</p>'
    word = _STATE_WORDS[view.state]
    text, share = "", 0.0
    if view.state is State.QUEUED:
        text = "next in line" if view.position == 0 else f"{view.position} before it"
    elif view.state is State.RUNNING:
        share, text = _running(view, names, left)
    elif view.state is State.DONE:
        share, text = 1.0, f"in {duration(view.seconds)}"
    elif view.state is State.FAILED:
        text = view.error or ""
    return (
        f'<div class="iv-status iv-{view.state.value}" role="status" data-job="{view.id}"'
        f' data-state="{view.state.value}">'
        f"<div><b>{word}</b> <span>{safe(text)}</span></div>"
        f'<div class="iv-bar"><i style="width:{100 * share:.1f}%"></i></div>'
        f'<p class="iv-prompt">{safe(view.settings.prompt)}'
        f" <small>seed {view.settings.seed}</small></p></div>"
    )


def _running(view: JobView, names: list[str], left: float | None) -> tuple[float, str]:
    progress = view.progress
    if progress is None:
        return 0.0, "starting"
    part = progress.done / max(1, progress.total)
    share = (names.index(progress.stage) + part) / len(names)
    if left is not None:
        remaining = f"about {duration(left)} left"
    else:
        remaining = f"about {duration(progress.seconds_left)} left of this stage"
    return share, f"{progress.stage}, step {progress.done} of {progress.total}, {remaining}"


def previews(view: JobView | None, names: list[str]) -> str:
    """Show a card a stage: its clip, or its place."""
    if view is None:
        return ""
    done = {stage.name: stage for stage in view.finished}
    taken = [stage.name for stage in view.finished if stage.name not in names]
    cards = []
    running = view.state is State.RUNNING
    for name in taken + names:
        if name in done:
            source = VIDEO if name == names[-1] else preview_name(name)
            took = "taken over" if name in taken else duration(done[name].seconds)
            cards.append(
                f'<figure class="iv-card" data-stage="{name}">{_video(view.id, source)}'
                f"<figcaption><b>{name}</b> {done[name].clip} <small>{took}</small></figcaption>"
                "</figure>"
            )
        elif not view.state.has_ended:
            kind = "iv-runs" if running else ""
            running = False  # only the first of those to come
            cards.append(
                f'<figure class="iv-card {kind}"><div class="iv-blank"></div>'
                f"<figcaption><b>{name}</b></figcaption></figure>"
            )
    large = ""
    if view.state is State.DONE:
        large = f'<div class="iv-large">{_video(view.id, VIDEO, controls=True)}</div>'
    return f'{large}<div class="iv-stages">{"".join(cards)}</div>'


def gallery(results: list[Result], total: int) -> str:
    """Show results as posters that can be opened."""
    if not results:
        return '<p class="iv-idle">Nothing here yet: results appear as they are made.</p>'
    cards = "".join(
        f'<button class="iv-card" data-open="{result.id}" title="Open">'
        f'<img loading="lazy" alt="" src="api/results/{result.id}/{POSTER}">'
        f"<span><b>{safe(result.settings.prompt)}</b>"
        f"<small>{_size(result)}, seed {result.settings.seed}</small></span></button>"
        for result in results
    )
    return f'<p class="iv-count">{total} results</p><div class="iv-gallery">{cards}</div>'


def details(result: Result | None, spec: CascadeSpec) -> str:
    """Show one result with its stages and settings."""
    if result is None:
        return ""
    stages = "".join(
        f'<figure class="iv-card">{_video(result.id, preview_name(stage.name))}'
        f"<figcaption><b>{stage.name}</b> {stage.frames}x{stage.height}x{stage.width}"
        f"</figcaption></figure>"
        for stage in result.stages[:-1]
    )
    files = "".join(
        f'<a href="api/results/{result.id}/{name}" download>{name}</a> '
        for name in (VIDEO, SHEET, SETTINGS)
    )
    rows = "".join(
        f"<tr><th>{safe(name)}</th><td>{safe(value)}</td></tr>" for name, value in _rows(result)
    )
    large = _video(result.id, VIDEO, controls=True)
    return (
        f'<div class="iv-details"><div class="iv-large">{large}</div>'
        f'<div><p class="iv-prompt"><b>{safe(result.settings.prompt)}</b></p>'
        f'<table class="iv-table">{rows}</table><p>{files}</p></div></div>'
        f'<div class="iv-stages">{stages}</div>'
    )


def _rows(result: Result) -> list[tuple[str, str]]:
    settings = result.settings
    made = [stage for stage in result.stages if stage.steps]
    rows = [
        ("seed", str(settings.seed)),
        ("size", _size(result)),
        ("steps", ", ".join(f"{stage.name} {stage.steps}" for stage in made)),
        ("time", duration(result.seconds)),
        ("made", time.strftime("%Y-%m-%d %H:%M", time.localtime(result.created))),
        ("weights", f"{result.bundle} ({result.bundle_sha256[:12]}), {result.precision}"),
    ]
    for name in ("negative_prompt", "guidance_weight", "start_stage", "result"):
        value = getattr(settings, name)
        if value is not None:
            rows.append((name.replace("_", " "), str(value)))
    return rows


def _size(result: Result) -> str:
    last = result.last
    return f"{last.frames} frames of {last.height}x{last.width}"


def _video(identity: str, name: str, *, controls: bool = False) -> str:
    more = "controls" if controls else ""
    return (
        f'<video src="api/results/{identity}/{name}" autoplay loop muted playsinline {more}>'
        "</video>"
    )
