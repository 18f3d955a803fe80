"""The clips of a tar in webdataset's layout: members with one key are one sample.

The key of `train/0001.mp4`, `train/0001.json` and `train/0001.txt` is `train/0001`: everything up
to the first dot of the file name. They need not stand next to each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.formats import KINDS, UNSUPPORTED, moves
from imagen_video.data.clips.labels import MAX_SIDECAR_BYTES
from imagen_video.data.clips.records import DataLimits, Kind, MediaFile, Record
from imagen_video.data.clips.tar_files import TarMember, read_member, tar_members
from imagen_video.data.finding.labelling import SIDECAR_SUFFIXES, Labeller

# Of several clips under one key the first of these is it: a still beside a video is its thumbnail.
_PREFERENCE: tuple[Kind, ...] = ("video", "array", "animation", "image")
_SNIFFED_BYTES = 1 << 16


def tar_clips(
    path: Path, archive: str, labeller: Labeller, limits: DataLimits, seen: Counter[str]
) -> Iterator[Record | Dropped]:
    """Yield the clips of a tar, and what is left out.

    Args:
        path: the tar.
        archive: what to call it in ids.
        labeller: puts labels together.
        limits: what to refuse.
        seen: counts suffixes of members.

    Raises:
        DataError: it cannot be opened.
    """
    samples: dict[str, list[TarMember]] = {}
    names: set[str] = set()
    for member in tar_members(path):
        if isinstance(member, Dropped):
            inside = member.id.partition("!")[2]
            ident = f"{archive}!{inside}" if inside else archive
            yield Dropped(id=ident, reason=member.reason, detail=member.detail)
            continue
        seen[_suffix(member) or "(none)"] += 1
        if PurePosixPath(member.name).name.startswith("."):
            continue  # "._0001.mp4" is what macOS adds, and no clip
        if member.name in names:
            # tar's rule would be that the last one counts; two clips of one name are a mistake.
            ident = f"{archive}!{member.name}"
            yield Dropped(id=ident, reason="name taken", detail="an earlier member has this name")
            continue
        names.add(member.name)
        samples.setdefault(_key(member.name), []).append(member)
    for members in samples.values():
        yield from _sample(path, archive, members, labeller, limits)


def _sample(
    path: Path, archive: str, members: list[TarMember], labeller: Labeller, limits: DataLimits
) -> Iterator[Record | Dropped]:
    clips = [member for member in members if _suffix(member) in KINDS]
    clips.sort(key=lambda member: _PREFERENCE.index(KINDS[_suffix(member)]))
    for member in members:
        if _suffix(member) in UNSUPPORTED:
            ident = f"{archive}!{member.name}"
            detail = UNSUPPORTED[_suffix(member)]
            yield Dropped(id=ident, reason="unsupported format", detail=detail)
    for other in clips[1:]:
        detail = f"{clips[0].name} is the clip of this key"
        yield Dropped(id=f"{archive}!{other.name}", reason="second clip of a key", detail=detail)
    if clips:
        yield _clip(path, archive, clips[0], members, labeller, limits)


def _clip(
    path: Path,
    archive: str,
    clip: TarMember,
    members: list[TarMember],
    labeller: Labeller,
    limits: DataLimits,
) -> Record | Dropped:
    ident = f"{archive}!{clip.name}"
    if clip.size > limits.max_member_bytes:
        detail = f"{clip.size} bytes; at most {limits.max_member_bytes} are held in memory"
        return Dropped(id=ident, reason="file too large", detail=detail)
    sidecars = {
        _suffix(member): read_member(path, member.offset, min(member.size, MAX_SIDECAR_BYTES + 1))
        for member in members
        if _suffix(member) in SIDECAR_SUFFIXES
    }
    label = labeller.label(ident, sidecars)
    if isinstance(label, Dropped):
        return label
    media = MediaFile(
        path=path,
        member=clip.name,
        offset=clip.offset,
        size=clip.size,
        modified_ns=path.stat().st_mtime_ns,
    )
    return Record(id=ident, media=media, kind=_kind(path, clip), label=label)


def _kind(path: Path, clip: TarMember) -> Kind:
    kind = KINDS[_suffix(clip)]
    if kind == "image":
        import io

        head = read_member(path, clip.offset, min(clip.size, _SNIFFED_BYTES))
        if moves(io.BytesIO(head)):
            return "animation"
    return kind


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".", 1)[0]))


def _suffix(member: TarMember) -> str:
    return PurePosixPath(member.name).suffix.lower()
