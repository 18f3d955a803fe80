"""`imagen-video data`: look at your own clips (`check`), and make shards of them (`prepare`)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from imagen_video.cli.clips_display import ClipsDisplay
from imagen_video.cli.main import say
from imagen_video.data.preparing.plan import PrepareOptions
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec
    from imagen_video.data.checking.target import Target
    from imagen_video.data.finding.discover import DiscoverOptions

JOURNALS = Path("build/data-check")
"""Where journals go if neither --journal nor --out says otherwise."""
MAX_NAMES_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """Where the clips and their labels are."""

    path: tyro.conf.Positional[Path]
    """A folder, a tar, a table (.csv, .tsv, .jsonl) that names files, or one file."""
    labels: Annotated[Path | None, tyro.conf.arg(metavar="TABLE")] = None
    """CSV, TSV or JSONL with labels. By default metadata, captions or labels .csv, .tsv or .jsonl
    in PATH, if one is there; .txt, .json and .cls files beside the clips count too."""
    file_field: str | None = None
    """Column that names the clip; file_name, file, path, filename, video or image by default."""
    caption_field: str | None = None
    """Column or JSON key of the caption; caption, text or prompt by default."""
    class_field: str | None = None
    """Column or JSON key of the class; class_id, class or label by default."""
    vector_field: str | None = None
    """Column or JSON key of the vector, a list of numbers; vector by default."""
    vector_columns: tuple[str, ...] = ()
    """Columns or JSON keys that hold one number each and together make the vector."""
    class_names: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Text file with the names of the classes 0, 1, ..., one a line."""
    classes_from_folders: bool = False
    """The first folder below PATH is the class; ids count the sorted names."""
    frame_folders: bool = False
    """A folder that holds pictures only is one clip."""
    array_fps: float = 24.0
    """Frames per second of .npy files and of folders of frames."""
    array_range: Literal["0..1", "-1..1"] = "0..1"
    """Black and white in .npy files of floating-point numbers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckVerb:
    """Read every clip once; report what is there and what will be left out, and why.

    Interrupt it at any time and give the same command to go on. Files are read only.
    """

    clips: Annotated[ClipOptions, tyro.conf.arg(name="")]
    """What to read."""
    preset: str | None = None
    """Cascade that the clips are for, a name or FILE.py:FUNCTION: each stage says what it needs."""
    stage: str | None = None
    """Only this stage of the preset."""
    min_frames: int | None = None
    """Least number of frames, at --fps; the stage's own by default, 1 without a preset."""
    fps: float | None = None
    """Rate at which --min-frames are taken; the stage's by default, the clip's without a preset."""
    min_height: int | None = None
    """Least height in pixels; the stage's by default."""
    min_width: int | None = None
    """Least width in pixels; the stage's by default."""
    channels: int | None = None
    """1 grey, 3 RGB, 4 RGB and depth, ...; the preset's by default, any without."""
    need: tuple[Literal["caption", "class", "vector", "nothing"], ...] = ()
    """Parts of a label without which a clip is left out; what the preset's networks take by
    default, a caption without a preset."""
    workers: int | None = None
    """Processes that decode; one a core by default. 0 uses none: a bad file can then crash it."""
    clip_seconds: float = 1800.0
    """Give a clip up that takes longer to decode."""
    journal: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """What is found out is noted here at once. By default OUT.journal.jsonl beside --out, else a
    file in build/data-check named for PATH. Delete it to read everything again."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the report here as JSON too."""
    json: bool = False
    """Print the report as JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareVerb:
    """Write the clips as shards, one set a stage: cut, resized, their captions encoded once.

    Interrupt it at any time and give the same command to go on.
    """

    clips: Annotated[ClipOptions, tyro.conf.arg(name="")]
    """What to read."""
    preset: str
    """Cascade that the shards are for: a name, or FILE.py:FUNCTION."""
    prepare: Annotated[PrepareOptions, tyro.conf.arg(name="")]
    """How."""
    json: bool = False
    """Print what was written as JSON."""


Verb = (
    Annotated[CheckVerb, tyro.conf.subcommand("check")]
    | Annotated[PrepareVerb, tyro.conf.subcommand("prepare")]
)


def run(argv: list[str]) -> int:
    """Parse the words after `data` and check or prepare.

    Raises:
        InputError: for anything that cannot be used, or if no clip is usable.
        ResourceError: if the disk is full.
    """
    options = tyro.cli(
        Verb,
        args=argv,
        prog="imagen-video data",
        description="Look at your own clips, and make training shards of them.",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    if isinstance(options, CheckVerb):
        check_clips(options)
    else:
        prepare_clips(options)
    return 0


def check_clips(options: CheckVerb) -> None:
    """Check, print the report, and refuse if nothing is usable."""
    _check_numbers(options)
    sources = sources_of(options.clips)
    targets = _targets(options)
    from imagen_video.data.checking.check import CheckOptions, check
    from imagen_video.data.checking.report import report_lines

    journal = options.journal or default_journal(options.clips.path, options.out)
    with ClipsDisplay() as display:
        try:
            report = check(
                options.clips.path,
                sources,
                targets,
                CheckOptions(
                    processes=options.workers, clip_seconds=options.clip_seconds, journal=journal
                ),
                display.on_progress,
            )
        except KeyboardInterrupt:
            say(f"{display.state}; {journal} holds it: give the same command to go on")
            raise
    values = report.to_json()
    if options.out is not None:
        with replacing(options.out) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if options.json:
        print(json.dumps(values, indent=1))
    else:
        print("\n".join(report_lines(report)))
    report.require_usable()


def prepare_clips(options: PrepareVerb) -> None:
    """Write the shards and say what they hold."""
    sources = sources_of(options.clips)
    from imagen_video.data.preparing.prepare import prepare

    with ClipsDisplay() as display:
        try:
            report = prepare(
                options.clips.path,
                _cascade(options.preset),
                options.prepare,
                sources=sources,
                on_progress=display.on_progress,
            )
        except KeyboardInterrupt:
            say(f"{display.state}; give the same command to go on")
            raise
    if options.json:
        print(json.dumps(dataclasses.asdict(report), indent=1, default=str))
    else:
        print("\n".join(report.lines()))


def sources_of(options: ClipOptions) -> DiscoverOptions:
    """Turn the options about clips and labels into what `discover` takes.

    Raises:
        InputError: for a rate that is none, or a file of class names that cannot be read.
    """
    if not 0 < options.array_fps <= 1000:
        got = f"{options.array_fps}"
        raise InputError("--array-fps", got, "more than 0, up to 1000", "correct it")
    from imagen_video.data.clips.labels import LabelFields
    from imagen_video.data.finding.discover import DiscoverOptions

    named = {
        "file": options.file_field,
        "caption": options.caption_field,
        "class_id": options.class_field,
        "vector": options.vector_field,
    }
    fields = LabelFields(
        vector_columns=options.vector_columns,
        class_names=() if options.class_names is None else _names(options.class_names),
        **{field: (name,) for field, name in named.items() if name is not None},
    )
    return DiscoverOptions(
        labels=options.labels,
        fields=fields,
        classes_from_folders=options.classes_from_folders,
        frame_folders=options.frame_folders,
        fps=options.array_fps,
        value_range=(-1.0, 1.0) if options.array_range == "-1..1" else (0.0, 1.0),
    )


def default_journal(path: Path, out: Path | None) -> Path:
    """Return where the journal goes if nothing is said: beside the output, or in JOURNALS."""
    if out is not None:
        return out.with_name(f"{out.name}.journal.jsonl")
    whole = path.resolve()
    mark = hashlib.sha256(str(whole).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return JOURNALS / f"{whole.name or 'root'}-{mark}.jsonl"


def _cascade(text: str) -> CascadeSpec:
    from imagen_video.presets.user import load_preset

    return load_preset(text)


def _targets(options: CheckVerb) -> list[Target]:
    from imagen_video.data.checking.target import Target, targets_of

    if options.preset is None:
        if options.stage is not None:
            raise InputError("--stage", options.stage, "a --preset with it", "name the preset")
        targets = [Target(needs=_default_needs(options.clips))]
    else:
        from imagen_video.data.preparing.plan import SLOWEST

        targets = [
            dataclasses.replace(target, least_fps=SLOWEST * (target.fps or 0.0))
            for target in targets_of(_cascade(options.preset))
        ]
        names = [target.name for target in targets]
        if options.stage is not None:
            if options.stage not in names:
                raise InputError("--stage", options.stage, f"one of {names}", "choose one")
            targets = [targets[names.index(options.stage)]]
    changes = {
        "min_frames": options.min_frames,
        "fps": options.fps,
        "height": options.min_height,
        "width": options.min_width,
        "channels": options.channels,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    if options.need:
        given["needs"] = tuple(need for need in options.need if need != "nothing")
    return [dataclasses.replace(target, **given) for target in targets]


def _default_needs(clips: ClipOptions) -> tuple[Literal["caption", "class", "vector"], ...]:
    """Return what a label must hold if neither --need nor a preset says so."""
    if clips.classes_from_folders:
        return ("class",)
    return ("vector",) if clips.vector_columns else ("caption",)


def _check_numbers(options: CheckVerb) -> None:
    for name, least in (
        ("min_frames", 1),
        ("min_height", 1),
        ("min_width", 1),
        ("channels", 1),
        ("workers", 0),
    ):
        value = getattr(options, name)
        if value is not None and value < least:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(flag, f"{value}", f"at least {least}", "correct it")
    for flag, seconds in (("--fps", options.fps), ("--clip-seconds", options.clip_seconds)):
        if seconds is not None and not 0 < seconds < 1e9:
            raise InputError(flag, f"{seconds}", "more than 0", "correct it")


def _names(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_NAMES_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        expected = "a UTF-8 text file, one name a line"
        raise InputError("--class-names", f"{error}", expected, "check the path") from error
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names or len(text) > MAX_NAMES_BYTES or len(set(names)) != len(names):
        got = f"{len(names)} names, {len(set(names))} different"
        raise InputError("--class-names", got, "different names, one a line", "correct the file")
    return names
