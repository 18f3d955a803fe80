"""What a job is asked for: the JSON of `POST /api/jobs`, and the file beside every result."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from imagen_video.cascade.inputs import spread_options
from imagen_video.cascade.options import StageOptions, selected
from imagen_video.cascade.request import Request
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.errors import InputError
from imagen_video.web.limits import Limits

ID_PATTERN = r"^[0-9a-f]{32}$"
"""Names of jobs, results and uploads: 128 random bits."""

MAX_SEED = 2**63 - 1
_ID = re.compile(ID_PATTERN[1:-1])


def new_id() -> str:
    """Draw a name that cannot be guessed."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Tell names of ours from anything else."""
    return _ID.fullmatch(text) is not None


class JobSettings(BaseModel):
    """Everything that determines a result. Leave out what shall be as the cascade has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt: str = Field(description="What the video shall show.")
    negative_prompt: str | None = Field(default=None, description="What guidance leads away from.")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        default=None, description="Of the noise; drawn and noted if left out."
    )
    start_stage: str | None = Field(
        default=None, description="First stage; with `result` or `upload`."
    )
    until: str | None = Field(default=None, description="Last stage.")
    steps: dict[str, int] = Field(default_factory=dict, description="Steps, by stage.")
    guidance_weight: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="The paper's w of the base; 0 = off."
    )
    num_frames: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Frames.")
    height: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Pixels.")
    width: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Pixels.")
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Memory of the process in GB, within the server's own bound."
    )
    result: Annotated[str, Field(pattern=ID_PATTERN)] | None = Field(
        default=None, description="A result of the gallery to go on from, at `start_stage`."
    )
    upload: Annotated[str, Field(pattern=ID_PATTERN)] | None = Field(
        default=None, description="An uploaded clip to go on from, at `start_stage`."
    )


def settled(settings: JobSettings, spec: CascadeSpec, limits: Limits) -> JobSettings:
    """Check the settings against the cascade and the limits, and draw the seed.

    Returns:
        Settings that give the same result again.

    Raises:
        InputError: for anything that cannot be used.
    """
    chosen = _stages(settings, spec)
    prompt = limits.check_text("prompt", settings.prompt)
    if not prompt:
        raise InputError("prompt", "an empty one", "a sentence", "say what to show")
    negative = limits.check_text("negative prompt", settings.negative_prompt or "") or None
    for stage in chosen:
        limits.check_steps(stage.name, settings.steps.get(stage.name, stage.sampling.steps))
    for name in settings.steps:
        spec.index(name)
    return settings.model_copy(
        update={
            "prompt": prompt,
            "negative_prompt": negative,
            "seed": secrets.randbits(32) if settings.seed is None else settings.seed,
            "start_stage": chosen[0].name if chosen[0].kind != "base" else None,
            "until": chosen[-1].name,
        }
    )


def _stages(settings: JobSettings, spec: CascadeSpec) -> tuple[StageSpec, ...]:
    """Return the stages that will run.

    Raises:
        InputError: unknown ones, or a first stage that lacks its input or has two.
    """
    chosen = selected(spec, settings.start_stage, settings.until)
    sources = [name for name in ("result", "upload") if getattr(settings, name) is not None]
    if chosen[0].kind == "base":
        if "upload" in sources:
            raise InputError(
                "start_stage",
                f"{chosen[0].name!r} with an uploaded clip",
                "a later stage, which makes more frames or pixels of it",
                "choose one of " + ", ".join(stage.name for stage in spec.stages[1:]),
            )
    elif len(sources) != 1:
        raise InputError(
            f"start_stage {chosen[0].name!r}",
            " and ".join(sources) or "no video to start from",
            "one of result and upload",
            "name the one to go on from",
        )
    return chosen


def request_of(settings: JobSettings, spec: CascadeSpec) -> Request:
    """Build the pipeline's request; the video of a later first stage is still to be put in."""
    options = {name: StageOptions(steps=steps) for name, steps in settings.steps.items()}
    negative = settings.negative_prompt
    assert settings.seed is not None
    return Request(
        prompts=(settings.prompt,),
        seeds=(settings.seed,),
        negative_prompts=None if negative is None else (negative,),
        start=settings.start_stage,
        until=settings.until,
        num_frames=settings.num_frames,
        height=settings.height,
        width=settings.width,
        options=spread_options(spec, options, None, settings.guidance_weight),
    )
