"""The container registries as far as a host can pull from them: which names exist, their digests.

Left out on purpose: layers and content; an image is a name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_REPOSITORIES = re.compile(r"ghcr\.io/huggingface/text-generation-inference|(docker\.io/)?(vllm/vllm-openai|(library/)?caddy)")
_TAG = re.compile(r"latest|v?\d+(\.\d+)*([-.][a-z0-9]+)*|sha-[0-9a-f]{7,40}|alpine")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class RegistryError(Exception):
    """A pull that the registry refuses, in Docker's words."""


@dataclass(frozen=True)
class Image:
    """A pulled image: repository, tag (empty when pulled by digest) and manifest digest."""

    repository: str
    tag: str
    digest: str

    @property
    def id(self) -> str:
        """The id of its configuration."""
        return "sha256:" + hashlib.sha256(self.digest.encode()).hexdigest()


def split(reference: str) -> tuple[str, str, str]:
    """Repository, tag and digest of an image reference; the tag is `latest` where neither is given."""
    rest, _, digest = reference.partition("@")
    slash = rest.rfind("/")
    colon = rest.find(":", slash + 1)
    repository, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
    return repository, tag or ("" if digest else "latest"), digest


def find(reference: str) -> Image:
    """The image that a reference names; raises RegistryError as Docker reports it."""
    repository, tag, digest = split(reference)
    if not re.fullmatch(r"[a-z0-9][a-z0-9._/:-]*", repository):
        raise RegistryError("invalid reference format")
    hub = "." not in repository.split("/", maxsplit=1)[0] or repository.startswith("docker.io/")
    if not _REPOSITORIES.fullmatch(repository):
        if hub:
            raise RegistryError(
                f"Error response from daemon: pull access denied for {repository}, repository does not exist or"
                " may require 'docker login': denied: requested access to the resource is denied"
            )
        raise RegistryError(f'Error response from daemon: Head "https://{repository}": denied')
    if not (_DIGEST.fullmatch(digest) if digest else _TAG.fullmatch(tag)):
        where = f"manifest for {reference} not found: " if hub else ""
        raise RegistryError(f"Error response from daemon: {where}manifest unknown")
    made = "sha256:" + hashlib.sha256(f"{repository}:{tag}".encode()).hexdigest()
    return Image(repository, tag, digest or made)
