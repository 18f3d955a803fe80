"""What the page's buttons do: each method is one event, from field values to component updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from pydantic import ValidationError

from imagen_video.errors import InputError
from imagen_video.web import page_html
from imagen_video.web.jobs import JobView, State
from imagen_video.web.messages import public_message
from imagen_video.web.service import Service
from imagen_video.web.settings import MAX_SEED, JobSettings

PAGE_RESULTS = 24


class PageEvents:
    """The events of one service's page."""

    def __init__(self, service: Service) -> None:
        """Hold the service."""
        self._service = service
        self._stages = [stage.name for stage in service.spec.stages]

    def generate(
        self,
        prompt: str,
        until: str,
        seed: str,
        negative: str,
        weight: float,
        memory: float,
        *steps: float,
    ) -> tuple:
        """Submit a new job."""
        spec = self._service.spec
        changed = {
            stage.name: int(wanted)
            for stage, wanted in zip(spec.stages, steps, strict=True)
            if int(wanted) != stage.sampling.steps
        }
        return self._submit(
            lambda: JobSettings(
                prompt=prompt,
                negative_prompt=negative or None,
                seed=_number("seed", seed),
                until=until,
                steps=changed,
                guidance_weight=_unless(weight, spec.stages[0].sampling.guidance_weight),
                memory_gb=memory,
            )
        )

    def enlarge(self, clip: str, prompt: str, first: str, until: str, seed: str) -> tuple:
        """Submit a job that goes on from an uploaded clip."""
        if not clip:
            return _refused("choose a clip first")
        return self._submit(
            lambda: JobSettings(
                prompt=prompt,
                start_stage=first,
                until=until,
                seed=_number("seed", seed),
                upload=clip,
            )
        )

    def reroll(
        self,
        identity: str,
        from_stage: str,
        until: str,
        seed: str,
        steps: str,
    ) -> tuple:
        """Submit a result again, from a stage on."""

        def settings() -> JobSettings:
            before = self._service.again(identity, from_stage)
            changes: dict[str, Any] = {"seed": _number("seed", seed), "until": until}
            wanted = _number("steps", steps)
            if wanted is not None:
                changes["steps"] = before.steps | {from_stage: wanted}
            return before.model_copy(update=changes)

        return self._submit(settings)

    def stop(self, identity: str, shown: str) -> tuple:
        """Stop the watched job."""
        self._service.stop(identity or "")
        return self.look(identity, shown)

    def look_anew(self, identity: str) -> tuple:
        """Show the watched job on a page that was just loaded."""
        return self.look(identity, "")

    def look(self, identity: str, shown: str) -> tuple:
        """Return what changed: (shown, timer, status, previews, stop button)."""
        view = self._service.view(identity or "")
        names = [] if view is None else self._service.pace.stages_of(view.settings)
        left = None if view is None else self._service.pace.left(view)
        key = _key(view)
        changed = page_html.previews(_complete(view, names), names) if key != shown else gr.skip()
        is_open = view is not None and not view.state.has_ended
        return (
            key,
            gr.Timer(active=is_open),
            page_html.status(view, names, left),
            changed,
            gr.Button(interactive=is_open),
        )

    def list_results(self, page: int) -> tuple[int, str, gr.Row]:
        """Show a page of the gallery; the last one if there are not so many."""
        gallery = self._service.gallery
        last = max(0, len(gallery) - 1) // PAGE_RESULTS
        page = min(max(0, page), last)
        results = gallery.newest(page * PAGE_RESULTS, PAGE_RESULTS)
        pager = gr.Row(visible=len(gallery) > PAGE_RESULTS)
        return page, page_html.gallery(results, len(gallery)), pager

    def newer(self, page: int) -> tuple[int, str, gr.Row]:
        """Show the page before."""
        return self.list_results(page - 1)

    def older(self, page: int) -> tuple[int, str, gr.Row]:
        """Show the next page."""
        return self.list_results(page + 1)

    def open_result(self, event: gr.EventData) -> tuple:
        """Open the clicked result: (name, details, panel, first stages, last stages)."""
        result = self._service.gallery.get(str(event.id))
        if result is None:
            raise gr.Error("this result is gone", print_exception=False)
        kept = [stage.name for stage in result.stages]
        first = [
            name
            for index, name in enumerate(self._stages)
            if (index == 0 and name in kept) or self._stages[index - 1] in kept
        ]
        return (
            result.id,
            page_html.details(result, self._service.spec),
            gr.Column(visible=True),
            gr.Dropdown(choices=first or self._stages[:1], value=(first or self._stages)[0]),
            gr.Dropdown(choices=self._stages, value=_known(result.last.name, self._stages)),
        )

    def close_result(self) -> tuple:
        """Close the open result."""
        return "", gr.Column(visible=False)

    def fill(self, identity: str) -> tuple:
        """Put the settings of a result into the form."""
        result = self._service.gallery.get(identity)
        if result is None:
            raise gr.Error("this result is gone", print_exception=False)
        settings, spec = result.settings, self._service.spec
        weight, memory = settings.guidance_weight, settings.memory_gb
        return (
            gr.Tabs(selected="create"),
            settings.prompt,
            _known(settings.until or "", self._stages),
            str(settings.seed),
            settings.negative_prompt or "",
            spec.stages[0].sampling.guidance_weight if weight is None else weight,
            gr.skip() if memory is None else memory,
            *(settings.steps.get(stage.name, stage.sampling.steps) for stage in spec.stages),
        )

    def uploaded(self, event: gr.EventData) -> str:
        """Take the name of a clip that the browser has uploaded."""
        return str(event.id)

    def _submit(self, settings: Callable[[], JobSettings]) -> tuple:
        try:
            view = self._service.submit(settings())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return _refused(f"{where}: {first['msg']}")
        except InputError as error:
            return _refused(public_message(error))
        return (view.id, *self.look(view.id, ""), gr.Tabs(selected="create"), "")


def _refused(message: str) -> tuple:
    """Leave everything as it is but the notice; gradio shows no errors of unqueued events."""
    return (*[gr.skip()] * 7, page_html.notice(message))


def _key(view: JobView | None) -> str:
    """Name what the previews show."""
    if view is None:
        return "none"
    return f"{view.id}-{len(view.finished)}-{view.state.value}"


def _complete(view: JobView | None, names: list[str]) -> JobView | None:
    """Show the result only of a job that the queue has forgotten."""
    if view is not None and view.state is State.DONE and not view.finished:
        names.clear()
    return view


def _number(where: str, text: str) -> int | None:
    """Read a number; None for an empty field.

    Raises:
        InputError: for anything else.
    """
    digits = (text or "").strip()
    if digits and not (digits.isdecimal() and int(digits) <= MAX_SEED):
        raise InputError(where, repr(digits[:40]), f"a number from 0 to {MAX_SEED}", "correct it")
    return int(digits) if digits else None


def _known(stage: str, stages: list[str]) -> str:
    """Return the stage, or the last one for a result of another cascade."""
    return stage if stage in stages else stages[-1]


def _unless(value: float, default: float) -> float | None:
    return None if value == default else float(value)
