"""Which label belongs to a clip? Its folder's class, its sidecar files, and the table, in turn.

What a later one knows replaces what an earlier one said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath

from imagen_video.data.clips.faults import Dropped, LabelError
from imagen_video.data.clips.labels import (
    Label,
    LabelFields,
    label_from_class,
    label_from_json,
    label_from_text,
)
from imagen_video.data.finding.tables import LabelTable

SIDECAR_SUFFIXES = (".txt", ".json", ".cls")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labeller:
    """Puts labels together."""

    fields: LabelFields
    """Names of columns, keys and classes."""
    table: LabelTable | None = None
    """Read already."""
    folder_classes: tuple[str, ...] = ()
    """Names of the first folders, if they are the classes."""

    def label(self, ident: str, sidecars: Mapping[str, bytes]) -> Label | Dropped:
        """Return the label of a clip, or why it has none that can be used.

        Args:
            ident: the clip's id.
            sidecars: content of its sidecar files by suffix; at most one byte over the limit.
        """
        label = Label()
        try:
            parts = PurePosixPath(ident.partition(".tar!")[0]).parts
            if self.folder_classes and len(parts) > 1:
                label = label.updated(Label(class_id=self._folder_class(ident, parts[0])))
            for suffix in SIDECAR_SUFFIXES:
                if suffix in sidecars:
                    where = f"{ident} ({suffix[1:]} file)"
                    label = label.updated(self._sidecar(suffix, sidecars[suffix], where))
        except LabelError as error:
            return error.dropped(ident)
        row = self.table.find(ident) if self.table is not None else None
        if isinstance(row, Dropped):
            return Dropped(id=ident, reason=row.reason, detail=row.detail)
        return label if row is None else label.updated(row)

    def _folder_class(self, ident: str, folder: str) -> int:
        if folder not in self.folder_classes:
            raise LabelError(
                "unusable label",
                ident,
                f"the folder {folder!r}",
                "one of the given class names",
                "add it to them, or move the clip",
            )
        return self.folder_classes.index(folder)

    def _sidecar(self, suffix: str, data: bytes, where: str) -> Label:
        if suffix == ".txt":
            return label_from_text(data, where)
        if suffix == ".cls":
            return label_from_class(data, where, self.fields)
        return label_from_json(data, where, self.fields)
