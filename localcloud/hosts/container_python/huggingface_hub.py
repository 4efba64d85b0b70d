# ruff: noqa: INP001 - a module of the container, not of this package
"""Stands for huggingface_hub in a one-shot container: fetches the placeholder files of a known model.

Refuses a gated model without a token as the Hub does. Left out on purpose: everything but
`snapshot_download`.
"""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__version__ = "0.23.5"


class HfHubHTTPError(OSError):
    """Any refusal of the Hub."""


class RepositoryNotFoundError(HfHubHTTPError):
    """No such repository, or a private one."""


class GatedRepoError(RepositoryNotFoundError):
    """A gated repository without access."""


class RevisionNotFoundError(HfHubHTTPError):
    """No such revision."""


@dataclass(frozen=True)
class RepoSibling:
    """One file of a repository."""

    rfilename: str
    size: int | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What the Hub tells of a model."""

    sha: str | None
    siblings: list[RepoSibling]


_ERRORS = {
    "GatedRepo": GatedRepoError,
    "RepoNotFound": RepositoryNotFoundError,
    "RevisionNotFound": RevisionNotFoundError,
}


def snapshot_download(  # noqa: PLR0913 - the signature is Hugging Face's
    repo_id: str,
    *,
    revision: str | None = None,
    local_dir: str | Path | None = None,
    allow_patterns: list[str] | str | None = None,
    ignore_patterns: list[str] | str | None = None,
    token: bool | str | None = None,
    **_others: object,
) -> str:
    """Write the model's files into `local_dir`; returns it."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise ValueError(f"Repo id must be in the form 'namespace/repo_name': '{repo_id}'.")
    if local_dir is None:
        raise ValueError("the local cloud's stand-in writes into a local_dir only")
    asked = {"token": _token(token), "revision": revision or "main"}
    request = urllib.request.Request(  # noqa: S310
        f"{os.environ['HF_ENDPOINT']}/download/{repo_id}", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            files: dict[str, str] = json.load(answer)["files"]
    except urllib.error.HTTPError as error:
        refusal: dict[str, str] = json.load(error)
        raise _ERRORS.get(refusal.get("code", ""), HfHubHTTPError)(refusal["error"]) from None
    directory = Path(local_dir)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        wanted = allow_patterns is None or any(fnmatch(name, pattern) for pattern in _listed(allow_patterns))
        if wanted and not any(fnmatch(name, pattern) for pattern in _listed(ignore_patterns)):
            (directory / name).write_text(text)
    return str(directory)


def model_info(repo_id: str, *, revision: str | None = None, **_others: object) -> ModelInfo:
    """The commit that a revision is now, and the files; the local cloud's have no size."""
    url = f"{os.environ['HF_ENDPOINT']}/api/models/{repo_id}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        raise RepositoryNotFoundError(f"{error.code} Client Error. {json.load(error)['error']} for url: {url}.") from None
    commit = found["sha"] if revision in {None, "main"} else revision
    return ModelInfo(commit, [RepoSibling(file["rfilename"]) for file in found["siblings"]])


def _listed(patterns: list[str] | str | None) -> list[str]:
    return [patterns] if isinstance(patterns, str) else patterns or []


def _token(token: bool | str | None) -> str | None:  # noqa: FBT001
    """As huggingface_hub finds it: given, HF_TOKEN, or the file that HF_TOKEN_PATH names."""
    if token is False:
        return None
    if isinstance(token, str):
        return token
    path = Path(os.environ.get("HF_TOKEN_PATH", "/nonexistent"))
    from_file = path.read_text().strip() if path.exists() else None
    return os.environ.get("HF_TOKEN") or from_file or None
