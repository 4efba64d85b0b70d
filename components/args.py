"""Arguments that components share: what a site serves, how its hosts are set up, how it is called.

Plain types decide which resources there are; whatever a program may learn only while it runs is a `pulumi.Input`. Defaults
stand in defaults.py and with the classes that these become: `Server` (engines.py) and `Host` (host_steps.py).
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from components.defaults import public_port
from components.engines import Engine


class VolumeType(StrEnum):
    """An EBS type for root volumes."""

    GP2 = "gp2"
    """In every zone."""
    GP3 = "gp3"
    """Cheaper and faster, but not in all Local Zones."""


class ServerArgs(TypedDict):
    """What a host serves, and with which engine."""

    engine: NotRequired[Engine]
    """Serving engine. Default: `Engine.TGI`."""
    image: NotRequired[str]
    """Docker image. Default: the engine's pinned one."""
    model: NotRequired[str]
    """Model id on the Hugging Face Hub. Default: `meta-llama/Llama-3.2-3B-Instruct`, which is gated."""
    revision: NotRequired[str]
    """Commit of the model's repository. Default: the branch `main`, as it is when a host fetches the weights."""
    max_input_tokens: NotRequired[int]
    """Longest prompt that is accepted, in tokens. Default: 3072."""
    max_total_tokens: NotRequired[int]
    """Longest prompt and answer together, in tokens. Default: 4096."""
    prefix_caching: NotRequired[bool]
    """Whether the computed prefix of earlier prompts is used again. Default: True."""
    extra_arguments: NotRequired[list[str]]
    """Further words of the engine's command line; never a secret, since command texts show them. Default: none."""


class HostArgs(TypedDict):
    """How a host is reached, and how long each step of its set-up may take."""

    login_user: NotRequired[str]
    """Login user of the AMI. Default: `ec2-user`."""
    connect_budget_seconds: NotRequired[int]
    """How long a new host may take until it accepts SSH. Default: 600."""
    boot_budget_seconds: NotRequired[int]
    """How long cloud-init, the GPU driver and Docker may take. Default: 600."""
    image_budget_seconds: NotRequired[int]
    """How long pulling the image may take. Default: 1800."""
    weights_budget_seconds: NotRequired[int]
    """How long fetching the weights may take. Default: 1800."""
    ready_budget_seconds: NotRequired[int]
    """How long the server may take to load the model and generate its first token. Default: 900."""


class TlsArgs(TypedDict):
    """What a host shows to those who call it by HTTPS."""

    name: str
    """The DNS name that it is called by."""
    certificate: pulumi.Input[str]
    """Certificate chain in PEM, the server's own first."""
    private_key: pulumi.Input[str]
    """The certificate's private key in PEM, without a passphrase. A secret; the component seals it."""


class EndpointArgs(TypedDict):
    """How a site is called. With `tls` or `api_keys`, a reverse proxy stands before the server."""

    port: NotRequired[int]
    """TCP port. Default: 443 with `tls`, else 8080."""
    tls: NotRequired[TlsArgs]
    """HTTPS. Default: plain HTTP."""
    api_keys: NotRequired[dict[str, pulumi.Input[str]]]
    """What callers send as `Authorization: Bearer KEY`, by a name (letters, digits, - and _) under which the host's log has them;
    the name is no secret. A secret; the component seals it. Default: nobody is asked."""
    proxy_image: NotRequired[str]
    """Docker image of the reverse proxy, Caddy 2.6 or newer. Default: `caddy:2.10.2-alpine`."""


class RolloutArgs(TypedDict):
    """How a host that serves changes its server."""

    drain_seconds: NotRequired[int]
    """How long it waits for what it is at, once users are led elsewhere; a stream that outlasts it is cut. Default: 300."""
    notice_seconds: NotRequired[int]
    """After so long Route 53's health checkers have noticed that it is away, or back. Default: 100."""
    is_alone: NotRequired[bool]
    """Whether no other replica could take its users, so that it is changed at once. Default: False."""
    max_ttft_ms: NotRequired[float]
    """Longest median time to first token, in ms over loopback, with which a changed server may serve. Default: any."""
    max_slowdown: NotRequired[float]
    """How many times as long as the server before a changed one may take to its first token. Default: any."""


def require_known(component: str, args: Mapping[str, Any], kind: type[Any]) -> None:
    """ValueError where an argument of a component is missing, or is none of `kind`'s, a TypedDict."""
    required: frozenset[str] = kind.__required_keys__
    optional: frozenset[str] = kind.__optional_keys__
    missing = sorted(required - args.keys())
    unknown = sorted(args.keys() - required - optional)
    if missing:
        raise ValueError(f"{component}: {kind.__name__} needs {', '.join(missing)}")
    if unknown:
        known = ", ".join(sorted(required | optional))
        raise ValueError(f"{component}: {kind.__name__} knows no {', '.join(unknown)}; it has {known}")


def endpoint_port(endpoint: EndpointArgs) -> int:
    """The TCP port that clients connect to."""
    return endpoint.get("port") or public_port(tls="tls" in endpoint)
