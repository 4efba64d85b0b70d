"""`edge rotate`: a secret made anew, and brought about. First it says what that restarts or replaces, and asks."""

from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from automation.commands.config import given
from automation.commands.deployment import deploy
from automation.commands.options import EnvironmentName, EventsFlag, LocalFlag, YesFlag, open_environment
from automation.commands.telling import where
from automation.commands.terminal import confirm, counted, say, show_json_line, wrapped
from automation.errors import EdgeError, UsageError

if TYPE_CHECKING:
    from automation.environment import Environment
    from automation.sites.rotation import Rotation


_wrapped = partial(wrapped, width=79)
_RELOADS = "Nothing is restarted or replaced: each host's proxy reloads its keys, one after another, and no stream is cut."


class What(StrEnum):
    """What can be rotated."""

    API_KEY = "api-key"
    SSH_KEY = "ssh-key"
    HOST_KEYS = "host-keys"
    HUGGING_FACE_TOKEN = "hugging-face-token"  # noqa: S105 - its name


def rotate(  # noqa: PLR0913, PLR0917 - each has its default
    env: EnvironmentName,
    what: Annotated[What, typer.Argument(metavar="WHAT", help="Which secret.")],
    key: Annotated[str | None, typer.Option("--key", metavar="NAME", help="Which API key, where there are several.")] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Take the old API key away.")] = False,  # noqa: FBT002
    local: LocalFlag = False,  # noqa: FBT002
    as_json: EventsFlag = False,  # noqa: FBT002
    yes: YesFlag = False,  # noqa: FBT002
) -> None:
    """Make a secret anew, site by site.

    api-key: adds a second key; `--finish` takes the old one away. ssh-key, host-keys: replaces every host, one after another.
    hugging-face-token: from standard input, or asked for.

    Example: edge rotate prod api-key
    """
    if (key or finish) and what is not What.API_KEY:
        raise UsageError("--key and --finish are for api-key\n  -> leave them out")
    environment = open_environment(env, local=local)
    token = given("the new Hugging Face token") if what is What.HUGGING_FACE_TOKEN else None
    rotation = environment.plan_rotation(what.value, key=key, finish=finish, token=token)
    for line in before(rotation, environment):
        say(line)
    if not environment.on_local_cloud and not yes:
        confirm("Go on?")
    environment.store_rotation(rotation)
    if as_json:
        show_json_line(rotation.described())
    elif not environment.on_local_cloud:
        say(f"Stored in {environment.stack_file.name}, encrypted. Commit that file.")
    deploy(environment, as_json=as_json)
    for line in after(rotation, environment):
        say(line)


def before(rotation: "Rotation", environment: "Environment") -> Iterator[str]:
    """What it restarts or replaces."""
    name = f"'{environment.name}' on {where(environment)}"
    if rotation.turns:
        yield f"{name}: {'new host keys' if rotation.kind == 'host-keys' else 'a new SSH key'}."
        count = sum(map(len, rotation.turns))
        yield f"{'The host is' if count == 1 else f'All {count} hosts are'} replaced, in {counted(len(rotation.turns), 'turn')}:"
        for number, turn in enumerate(rotation.turns, 1):
            yield from _wrapped(f"{number:>5}  {', '.join(turn)}", indent=" " * 7)
        yield from _wrapped(
            "In its turn a host leads its users elsewhere, is replaced, fetches image and weights, and must serve before the "
            "next one goes. Until then it is reached by the key before."
        )
        if rotation.unreserved:
            zones = ", ".join(rotation.unreserved)
            yield from _wrapped(f"A host gives its GPU back first, and nothing is reserved (sites[].reserve) in {zones}.")
        yield from _wrapped(f"not protected: {rotation.unprotected}") if rotation.unprotected else ()
    elif rotation.kind == "hugging-face-token":
        yield f"{name}: another Hugging Face token."
        yield from _wrapped(
            "Nothing is restarted or replaced: a host reads the token only while it fetches weights, and those that it serves "
            "with are there."
        )
        yield from _wrapped(f"Not known to be good: {rotation.silence}.") if rotation.silence else ()
    elif rotation.is_last_step:
        text = f"{name}: '{rotation.key}' gets the key of '{rotation.successor}', and its old key is refused from then on."
        yield from _wrapped(f"{text} {_RELOADS}")
        yield from _use(rotation, environment)
    else:
        yield from _wrapped(f"{name}: a new key '{rotation.successor}' beside '{rotation.key}'; both are valid. {_RELOADS}")
    yield from _wrapped(f"What else waits in the config comes about too: edge plan {environment.arguments}")


def after(rotation: "Rotation", environment: "Environment") -> Iterator[str]:
    """What is left for a person to do."""
    env = environment.arguments
    if rotation.kind == "api-key" and not rotation.is_last_step:
        yield f"The new key is valid beside the old one, as '{rotation.successor}'. It is not shown on a terminal:"
        yield f"  -> edge secret get {env} apiKeys.{rotation.successor} > FILE   # hand it to its callers"
        yield f"     edge usage {env}   # who still calls with the old one"
        yield f"     edge rotate {env} api-key --key {rotation.key} --finish   # takes the old one away"
    elif rotation.kind == "hugging-face-token":
        yield "Revoke the old token on the Hub: https://huggingface.co/settings/tokens"
    elif rotation.kind == "ssh-key":
        yield "The key before opens no host any more."


def _use(rotation: "Rotation", environment: "Environment") -> Iterator[str]:
    """How both keys are used, so that a person sees whether the old one still is."""
    from automation.commands.usage import usage_lines

    try:
        yield from (f"  {line}" for line in usage_lines(environment.usage()))
    except EdgeError as error:
        yield from _wrapped(f"How '{rotation.key}' is used is not known: {error}")
