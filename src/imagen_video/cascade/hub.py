"""Bundles on the Hugging Face Hub: fetched at one commit, kept in the cache, pushed with a card.

Only the files that a bundle consists of are fetched and pushed: `cascade.json`,
`text_encoder.json`, the card, and each stage's `config.json` and `model.safetensors`. Whatever
else a repository holds is neither downloaded nor run. `cascade.json` comes first: a repository that
is no bundle is refused before its weights cross the network, and the rest is fetched at the commit
that it came from, so that a push in between cannot mix two versions.

The client's own settings hold: HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Protocol

import torch

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.model_card import CARD_FILE, CardFacts, model_card
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import BundleError, InputError
from imagen_video.media.atomic import writing_error

_HEAD = "cascade.json"
_WEIGHTS = "model.safetensors"


def bundle_files(spec: CascadeSpec) -> list[str]:
    """Return the paths of all files that a bundle of this cascade may have."""
    stages = [f"{s.name}/{file}" for s in spec.stages for file in ("config.json", _WEIGHTS)]
    return [_HEAD, "text_encoder.json", CARD_FILE, *stages]


def fetch_bundle(name: str, revision: str | None = None) -> Path:
    """Bring a bundle from the hub into the client's cache, or find it there.

    Without a network, or with HF_HUB_OFFLINE=1, what was fetched before is used.

    Args:
        name: `owner/name`.
        revision: branch, tag or commit; the main branch if None. A commit that is in the cache
            needs no network.

    Returns:
        The folder in the cache.

    Raises:
        BundleError: if there is no such repository or revision, if it is no bundle, or if the hub
            is out of reach and the cache does not have it.
        ResourceError: if the disk is full.
    """
    from huggingface_hub import snapshot_download

    try:
        # Not hf_hub_download: it waits half a minute for a network that is not there.
        first = Path(snapshot_download(name, revision=revision, allow_patterns=[_HEAD]))
        if not (first / _HEAD).is_file():
            raise BundleError(
                f"bundle {name!r}",
                f"a repository without {_HEAD}",
                "a cascade that push_to_hub made",
                "check the name, or load it with the library that it was made for",
            )
        files = bundle_files(Bundle.open(first).spec)
        return Path(snapshot_download(name, revision=first.name, allow_patterns=files))
    except BundleError:
        raise
    except Exception as error:
        raise _fetch_error(error, name, revision) from error


class _Saves(Protocol):
    """What pushing needs of a pipeline."""

    spec: CascadeSpec
    provenance: dict[str, Any]

    def save_pretrained(self, path: str | Path, dtype: torch.dtype = ...) -> None: ...


class OnTheHub:
    """The part of a pipeline that has to do with the hub."""

    provenance: dict[str, Any]

    @property
    def card(self) -> CardFacts:
        """What the model card says beyond what the weights tell: licence, data, metrics, limits.

        Set it before `save_pretrained` or `push_to_hub`; it is stored with the weights.
        """
        return CardFacts.of(self.provenance)

    @card.setter
    def card(self, facts: CardFacts) -> None:
        self.provenance["card"] = facts.to_json()

    def push_to_hub(
        self: _Saves,
        repo_id: str,
        *,
        revision: str | None = None,
        private: bool | None = None,
        commit_message: str | None = None,
        token: str | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> str:
        """Push the cascade and its model card to the Hugging Face Hub as one commit.

        Args:
            repo_id: `owner/name`; made if it is not there.
            revision: branch to push to, made if it is not there; the main branch if None.
            private: whether a new repository is private; None = as the owner's settings say.
            commit_message: what to write beside the commit.
            token: access token; None = the one that `hf auth login` or HF_TOKEN left.
            dtype: of the stored weights.

        Returns:
            The commit: `from_pretrained(repo_id, revision=commit)` gives these weights for ever.

        Raises:
            InputError: if the hub is out of reach, or refuses the token or the name.
            ResourceError: if the disk is full.
        """
        with tempfile.TemporaryDirectory(prefix="imagen-video-") as place:
            folder = Path(place) / "bundle"
            self.save_pretrained(folder, dtype=dtype)
            trained = [s.name for s in self.spec.stages if (folder / s.name / _WEIGHTS).is_file()]
            card = model_card(self.spec, self.provenance, trained, repo_id)
            try:
                (folder / CARD_FILE).write_text(card, encoding="utf-8")
            except OSError as error:
                raise writing_error(folder, error) from error
            try:
                return _commit(
                    folder,
                    [file for file in bundle_files(self.spec) if (folder / file).is_file()],
                    repo_id,
                    revision=revision,
                    private=private,
                    message=commit_message or f"Push {self.spec.name} with imagen-video",
                    token=token,
                )
            except Exception as error:
                raise _push_error(error, repo_id) from error


def _commit(
    folder: Path,
    files: list[str],
    repo_id: str,
    *,
    revision: str | None,
    private: bool | None,
    message: str,
    token: str | None,
) -> str:
    """Send the files as one commit; whatever else the repository holds stays as it is."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name="imagen-video")
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    commit = api.create_commit(
        repo_id,
        [CommitOperationAdd(file, folder / file) for file in files],
        commit_message=message,
        revision=revision,
    )
    return commit.oid


def _fetch_error(error: Exception, name: str, revision: str | None) -> InputError:
    """Say what the client's error means for somebody who wants a bundle.

    The order matters: several of the client's errors are kinds of one another.
    """
    from huggingface_hub import errors

    where = f"bundle {name!r}" + ("" if revision is None else f", revision {revision!r}")
    if isinstance(error, errors.GatedRepoError):
        return BundleError(
            where,
            "a repository whose owner asks for consent first",
            "an account that has it",
            "accept the terms on its page, then run: hf auth login",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return BundleError(
            where,
            "a repository without this revision",
            "a branch, a tag or a commit of it",
            "check the revision, or leave it out for the main branch",
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return BundleError(
            where,
            "no folder of that name here and no such repository on the hub",
            "a folder, or the id of a repository that you may read",
            "check the name; for a private repository run: hf auth login",
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return _out_of_reach(error, where, name, revision or "main")
    if isinstance(error, OSError) and error.errno is not None:
        return writing_error(Path(str(error.filename or "the hub's cache")), error)
    return BundleError(
        where,
        _short(error),
        "an answer of the hub",
        "try again later; hf.co/status tells of faults",
    )


def _out_of_reach(error: Exception, where: str, name: str, wanted: str) -> InputError:
    """Tell offline mode from a dead network, and nothing cached from another revision cached."""
    from huggingface_hub import constants

    cached = _cached_revisions(name)
    have = f"the cache has only {', '.join(cached)}" if cached else "nothing of it is in the cache"
    if wanted in cached:
        have = "only a part of it is in the cache"
    if constants.HF_HUB_OFFLINE:
        return BundleError(
            where,
            f"HF_HUB_OFFLINE=1, and {have}",
            "a whole copy of this revision in the cache",
            "unset HF_HUB_OFFLINE once to fetch it, or ask for a revision that is there",
        )
    return BundleError(
        where,
        f"a hub that cannot be reached ({_short(error.__cause__ or error)}), and {have}",
        "a connection, or a whole copy of this revision in the cache",
        "check the network and the proxy settings, and try again",
    )


def _cached_revisions(name: str) -> list[str]:
    """Return the names and commits of a repository that the cache has, at most five."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    home = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    refs = [
        str(path.relative_to(home / "refs")) for path in home.glob("refs/**/*") if path.is_file()
    ]
    commits = [path.name for path in home.glob("snapshots/*") if (path / _HEAD).is_file()]
    return [*sorted(refs), *sorted(commits)][:5]


def _push_error(error: Exception, repo_id: str) -> InputError:
    """Say what the client's error means for somebody who pushes."""
    from huggingface_hub import constants, errors

    where = f"push_to_hub({repo_id!r})"
    answer = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return InputError(where, _short(error), "owner/name", "correct the name")
    if isinstance(error, errors.OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return InputError(
            where, "HF_HUB_OFFLINE=1", "a connection to the hub", "unset HF_HUB_OFFLINE"
        )
    if answer in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return InputError(
            where,
            f"a refusal of the hub ({answer})",
            "a token that may write to this repository",
            "run: hf auth login, or pass token=",
        )
    if answer is not None:
        return InputError(where, _short(error), "an answer of success", "see the hub's answer")
    return InputError(
        where,
        _short(error),
        "a commit on the hub",
        "check the connection and the proxy settings, and try again",
    )


def _short(error: BaseException) -> str:
    """Return the first line of a long message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
