"""The evaluation itself: made clips, real renders of the same scenes, and a reference.

WORK/records/KEY.safetensors   scores and features of one clip, made or real
     probe/KEY.safetensors     features that the probes were fitted on

KEY hashes the clip's identity and everything that its record depends on, so an evaluation that was
stopped goes on where it was, and real renders are judged once for all bundles.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import Extractor
from imagen_video.evaluation.features.files import kept
from imagen_video.evaluation.material.clips import JUDGED_FRAMES, Clip, check_alike
from imagen_video.evaluation.material.prompt_sets import Prompt, PromptSet
from imagen_video.evaluation.material.real_renders import judged_render
from imagen_video.evaluation.measures.content import Features, Probes
from imagen_video.evaluation.measures.styles import StyleJudge
from imagen_video.evaluation.measures.two_subjects import PairJudge
from imagen_video.evaluation.measures.words import WordReader
from imagen_video.evaluation.scoring.judge import Judge, identity, record_key
from imagen_video.evaluation.scoring.metrics import METRICS, protocol, why_not
from imagen_video.evaluation.scoring.results import Record, Records, Row, rows_of

LITE0_METRICS = {"lite0", "concept", "pairs"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeClip:
    """One clip that is judged."""

    name: str
    """How messages call it."""
    digest: str
    """Of its file."""
    lossy: bool
    """Whether its file has a codec's losses."""
    load: Callable[[], Clip]
    """Reads it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """What features come from."""

    lite0: Callable[[], Features]
    """Loads Lite0's features of frames, if a metric needs them."""
    extractors: Mapping[str, Extractor] = dataclasses.field(default_factory=dict)
    """Given ones by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How much is measured, and with what."""

    metrics: tuple[str, ...] = ()
    """Keys of `METRICS`; all that can be measured if empty."""
    reference: int = 256
    """Real renders of other scenes that distances compare with."""
    names: int = 100
    """Subjects to tell apart."""
    renders: int = 10
    """Probe renders of each subject."""
    judged_frames: int = JUDGED_FRAMES
    """Frames of each clip that are judged for content: known before the clips are made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured."""

    rows: tuple[Row, ...]
    """The numbers."""
    missing: dict[str, str]
    """Metric or number -> why it is not there."""
    settings: dict[str, Any]
    """Everything that the numbers depend on besides the videos."""
    clips: tuple[dict[str, Any], ...]
    """Scores of every clip, made and real."""


def chosen_metrics(
    settings: Settings, prompts: Sequence[Prompt], given: Mapping[str, Extractor]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Settle what is measured, before anything is made.

    Args:
        settings: as asked for.
        prompts: what is judged.
        given: extractors that there are, by name.

    Returns:
        Metrics, and the reasons for those that are left out.

    Raises:
        InputError: if a metric that was asked for by name cannot be measured.
    """
    chosen, missing = [], {}
    for name in settings.metrics or METRICS:
        reason = why_not(
            name,
            clips=len(prompts),
            reference=settings.reference,
            frames=settings.judged_frames,
            given=given,
            kinds={prompt.kind for prompt in prompts},
        )
        if reason is None:
            chosen.append(name)
        elif settings.metrics:
            raise InputError(
                f"--metrics {name}", reason, "all that it needs", "give it, or leave the metric out"
            )
        else:
            missing[name] = reason
    return tuple(chosen), missing


class Evaluator:
    """Measures a list of clips."""

    def __init__(
        self,
        *,
        prompt_set: PromptSet,
        prompts: Sequence[Prompt],
        store: SpriteStore,
        networks: Networks,
        settings: Settings,
        work: Path,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Check that everything that was asked for can be measured.

        Args:
            prompt_set: where the prompts are from.
            prompts: one a clip.
            store: the corpus.
            networks: what features come from.
            settings: what to measure.
            work: folder for records.
            say: takes a line for a person.

        Raises:
            InputError: for what cannot be measured.
            DataError: if the corpus is another one than the prompts are from.
        """
        self._set, self._prompts, self._store = prompt_set, tuple(prompts), store
        self._settings, self._work, self._say = settings, work, say
        self._metrics, self._missing = chosen_metrics(settings, prompts, networks.extractors)
        used = {METRICS[name].extractor for name in self._metrics}
        self._extractors = {k: one for k, one in networks.extractors.items() if k in used}
        self._scenes = prompt_set.scenes(store, prompts)
        self._corpus = corpus_digest(store.folder)
        self._features = networks.lite0() if LITE0_METRICS & set(self._metrics) else None

    def run(self, made: Sequence[MadeClip]) -> Result:
        """Judge the clips.

        Args:
            made: one a prompt, in order.

        Raises:
            InputError: for clips of different shapes or rates, of other lengths than the settings
                say, or files that cannot be read.
        """
        first = made[0].load()
        if len(first.judged) != self._settings.judged_frames:
            raise InputError(
                f"clip {made[0].name}",
                f"{len(first.judged)} judged frames",
                f"{self._settings.judged_frames}, as was said before",
                "set judged_frames to what the clips have",
            )
        judge = self._judge(first)
        lossy = any(clip.lossy for clip in made)
        records = Records(
            made=[
                self._made(judge, clip, scene, first, made[0].name)
                for clip, scene in self._told("clips", list(zip(made, self._scenes, strict=True)))
            ],
            real=[
                self._real(judge, scene, first, lossy)
                for scene in self._told("real renders", self._scenes)
            ],
            reference=self._reference(judge, first, lossy),
            prompts=self._prompt_vectors(),
            names=None if judge.probes is None else len(judge.probes.subject.names),
            scenes=self._scenes,
        )
        rows: list[Row] = []
        missing = dict(self._missing)
        for name in self._metrics:
            found, absent = rows_of(name, records)
            rows += found
            missing |= absent
        return Result(
            rows=tuple(rows),
            missing=missing,
            settings=self._about(judge, first, lossy),
            clips=tuple(self._clip_scores(made, records)),
        )

    def _told(self, what: str, things: Sequence[Any]) -> Any:
        for number, thing in enumerate(things):
            if number % 20 == 0:
                self._say(f"judging {what}: {number}/{len(things)}")
            yield thing

    def _judge(self, clip: Clip) -> Judge:
        """Fit what has to be fitted to the size and times of the clips."""
        probes = None
        subjects = [scene for scene in self._scenes if scene.kind == "subject"]
        if "concept" in self._metrics and self._features is not None:
            self._say("fitting the probes on real renders")
            probes = Probes.fit(
                self._features,
                self._store,
                subjects,
                clip,
                names=self._settings.names,
                renders=self._settings.renders,
                cache=self._work,
            )
        pairs = None
        styles = None
        if probes is not None and self._features is not None:
            styles = StyleJudge(self._features, self._store)
        if "pairs" in self._metrics and self._features is not None:
            pairs = PairJudge(self._features, self._store)
        return Judge(
            metrics=self._metrics,
            features=self._features,
            probes=probes,
            styles=styles,
            pairs=pairs,
            reader=WordReader() if "words" in self._metrics else None,
            extractors=self._extractors,
        )

    def _record(
        self,
        judge: Judge,
        about: list[Any],
        scene: Scene,
        load: Callable[[], Clip],
        *,
        features_only: bool = False,
    ) -> Record:
        about = [*about, self._corpus]  # measures draw real renders to compare with
        key = record_key(judge, scene, about, features_only=features_only)
        return kept(
            self._work / "records" / f"{key}.safetensors",
            lambda: judge.record(load(), scene, features_only=features_only),
        )

    def _made(
        self, judge: Judge, clip: MadeClip, scene: Scene, first: Clip, first_name: str
    ) -> Record:
        """Judge a clip that is like the first one."""

        def loaded() -> Clip:
            found = clip.load()
            check_alike(found, clip.name, first, first_name)
            return found

        # What the clip was held against is in the key: a clip that was judged among others is
        # found again only among others like those, and so needs no second look.
        about = ["made", clip.digest, list(first.times), list(first.shape), list(first.size)]
        return self._record(judge, about, scene, loaded)

    def _real(
        self, judge: Judge, scene: Scene, like: Clip, lossy: bool, *, features_only: bool = False
    ) -> Record:
        """Judge a real render of the size and times of the clips."""
        times = like.times
        if features_only and not lossy:
            times = tuple(like.times[i] for i in like.judged)
        about = ["real", list(times), list(like.shape), list(like.size), lossy]
        return self._record(
            judge,
            about,
            scene,
            lambda: judged_render(scene, self._store, times, like.size, coded=lossy),
            features_only=features_only,
        )

    def _reference(self, judge: Judge, like: Clip, lossy: bool) -> list[Record]:
        """Return features of real renders of other scenes, if a distance asks for them."""
        distances = {"lite0", "fvd", "fvd-videomae", "fid"}
        if not distances & set(self._metrics):
            return []
        scenes = self._set.reference_scenes(self._store, self._prompts, self._settings.reference)
        return [
            self._real(judge, scene, like, lossy, features_only=True)
            for scene in self._told("reference renders", scenes)
        ]

    def _prompt_vectors(self) -> Tensor | None:
        clip = self._extractors.get("clip")
        if clip is None or clip.text is None or "clip" not in self._metrics:
            return None
        return clip.text([prompt.prompt for prompt in self._prompts])

    def _about(self, judge: Judge, clip: Clip, lossy: bool) -> dict[str, Any]:
        return {
            "protocol": protocol(),
            "prompts": {
                "name": self._set.name,
                "version": self._set.version,
                "sha256": self._set.sha256,
                "count": len(self._prompts),
                "kinds": sorted({prompt.kind for prompt in self._prompts}),
            },
            "clip": dict(zip(("frames", "height", "width"), clip.shape, strict=True)),
            "made_at": dict(zip(("height", "width"), clip.size, strict=True)),
            "source_frames": list(clip.times),
            "codec": lossy,
            "corpus_index_sha256": self._corpus,
            **dataclasses.asdict(self._settings),
            "judge": identity(judge),
        }

    def _clip_scores(self, made: Sequence[MadeClip], records: Records) -> list[dict[str, Any]]:
        return [
            {
                "name": clip.name,
                "prompt": prompt.prompt,
                "kind": prompt.kind,
                "made": _scores(ours),
                "real": _scores(real),
            }
            for clip, prompt, ours, real in zip(
                made, self._prompts, records.made, records.real, strict=True
            )
        ]


def _scores(record: Record) -> dict[str, float]:
    return {
        key.partition("/")[2]: float(value)
        for key, value in record.items()
        if key.startswith("score/")
    }
