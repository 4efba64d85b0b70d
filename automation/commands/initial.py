"""A new environment: its stack file, as a person would have written it, its keys, and its secrets in Pulumi's own safe.

Everything is judged by the program's own settings before anything is written, and taken back where storing the secrets fails.
Left out: changing an environment that is there.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.commands.project import begin
from automation.environment import Environment, Say
from automation.errors import UsageError
from automation.paths import PROJECT_ROOT, is_project, stack_file
from components.dns_plan import Policy
from components.problems import ConfigurationError, Problem
from components.settings import PROJECT, ServerSettings, StackConfig, validate
from components.zones import parse_zone, short_names
from geography.places import REGION_NAMES, REGIONS, ZONE_GROUPS, zone_letters

DEFAULT_MODEL = str(ServerSettings.model_fields["model"].default)
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]*")
"""What YAML reads as the text that it looks like; digits alone do not occur here."""
_STAND_IN_ZONE = "edge.internal"
"""Lets the settings judge a file that leaves the service's name to its owner."""


@dataclass(frozen=True)
class Draft:
    """What a new environment is to be."""

    name: str
    zones: tuple[str, ...]
    client_cidrs: tuple[str, ...] = ()
    ssh_cidrs: tuple[str, ...] = ()
    domain: str | None = None
    hosted_zone: str | None = None
    model: str = DEFAULT_MODEL
    hugging_face_token: str | None = field(default=None, repr=False)
    for_rehearsal: bool = False
    """Only the file: what belongs to its owner may be missing, and no secret is stored."""
    begun_by: str = "edge init"
    policy: Policy = "latency"
    geolocation: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """For that policy: the table, as the stack file has it."""
    instance_types: Mapping[str, str] = field(default_factory=dict[str, str])
    """By zone, where it is not the default."""
    opt_in: Mapping[str, Literal["true", "anyway"]] = field(default_factory=dict[str, Literal["true", "anyway"]])
    """By zone, whether the deployment opts the account in to its group."""

    @property
    def region(self) -> str:
        """The first site's parent Region, which is the provider's default."""
        return parse_zone(self.zones[0]).region


def refuse_existing(name: str, folder: Path) -> None:
    """UsageError for a name that no environment can have, or that one has."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for an environment: small letters, digits and -, at most 31, a letter first")
    if stack_file(name, folder).exists():
        raise UsageError(
            f"there is an environment '{name}' already: Pulumi.{name}.yaml exists, and is not overwritten\n"
            f"  -> edge doctor {name}   # or choose another name"
        )


def create(draft: Draft, folder: Path, say: Say = lambda _: None) -> Path:
    """Writes the stack file and stores the secrets; its path. UsageError for what the program would refuse: then nothing is."""
    refuse_existing(draft.name, folder)
    secrets = _secrets(draft)
    if problems := _problems(draft, secrets):
        told = "\n".join(f"  {_words(problem)}" for problem in problems)
        raise UsageError(f"'{draft.name}' would not be accepted, and nothing was written:\n{told}")
    for zone in draft.zones:
        known_zone(zone)
    if not is_project(PROJECT_ROOT):
        begin(PROJECT_ROOT)
    text = stack_file_text(draft)
    path = stack_file(draft.name, folder)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    if draft.for_rehearsal:
        return path
    try:
        Environment(draft.name, stack_files=folder, say=say).store_secrets(secrets)
    except BaseException:
        with suppress(FileNotFoundError):
            path.unlink()
        raise
    return path


def stack_file_text(draft: Draft) -> str:
    """The stack file, with comments."""
    return "\n".join(_lines(draft)) + "\n"


def _secrets(draft: Draft) -> dict[str, str]:
    return {
        f"{PROJECT}:sshPrivateKey": new_deployer_key(),
        f"{PROJECT}:hostKeySecret": new_host_key_secret(),
        **_token(draft),
    }


def _token(draft: Draft) -> dict[str, str]:
    token = draft.hugging_face_token
    return {f"{PROJECT}:huggingFaceToken": token.strip()} if token else {}


def check(draft: Draft, *paths: str) -> None:
    """UsageError with what the program's own settings find wrong at some of their paths; the rest may still be missing."""
    starts = tuple(f"{PROJECT}:{path}" for path in paths)
    found = [problem for problem in _problems(draft, _token(draft)) if problem.path.startswith(starts)]
    if found:
        raise UsageError(
            "\n".join(f"{problem.value}: {problem.reason}" if problem.value else problem.reason for problem in found)
        )


def check_given(draft: Draft) -> None:
    """UsageError for what was given and would be refused, before anything is asked."""
    given = {
        "access.clientCidrs": draft.client_cidrs,
        "access.sshCidrs": draft.ssh_cidrs,
        "routing": draft.domain and draft.hosted_zone,
        "server": draft.model,
        "huggingFaceToken": draft.hugging_face_token,
    }
    if paths := [path for path, value in given.items() if value]:
        check(draft, *paths)


def known_zone(word: str) -> str:
    """The zone that a name, or a short one such as `lax`, means; UsageError for one that is not on the map."""
    groups = (*ZONE_GROUPS, *REGIONS)
    zones = [f"{group}a" for group in groups]
    others = [f"{group}{letter}" for group in groups for letter in zone_letters(group)[1:]]
    # A group's first zone goes by the group's short name too.
    meant = [zone for zone in zones if word in short_names(zone)] or [zone for zone in others if word in short_names(zone)[1:]]
    if len(meant) > 1:
        raise UsageError(f"'{word}' may be {' or '.join(meant)}\n  -> type the one that is meant")
    zone = meant[0] if meant else word
    try:
        parsed = parse_zone(zone)
    except ValueError as error:
        raise UsageError(f"'{word}' is {error}") from error
    if zone[-1] in zone_letters(parsed.group):
        return zone
    near = get_close_matches(zone, zones, 2)
    raise UsageError(f"no zone '{zone}' is on the map\n  -> {' or '.join(near) or 'edge zones   # lists them'}")


def _problems(draft: Draft, secrets: Mapping[str, str]) -> tuple[Problem, ...]:
    """Everything that the program's own settings find wrong."""
    stand_in = ["127.0.0.1/32"] if draft.for_rehearsal else []
    routing: dict[str, Any] = {"policy": "none"}
    if draft.domain:
        routing = {"domain": draft.domain, "hostedZone": draft.hosted_zone}
    elif draft.policy != "latency":
        routing = {"domain": f"{draft.name}.{_STAND_IN_ZONE}", "hostedZone": _STAND_IN_ZONE}
    if routing.get("domain"):
        routing |= {"policy": draft.policy, **({"geolocation": draft.geolocation} if draft.geolocation else {})}
    access = {"clientCidrs": list(draft.client_cidrs) or stand_in, "sshCidrs": list(draft.ssh_cidrs) or stand_in}
    sections = {
        "sites": [{"zone": zone, **_type_of(draft, zone)} for zone in draft.zones],
        "server": {"model": draft.model},
        "access": access,
        "routing": routing,
    }
    values = {**{f"{PROJECT}:{key}": json.dumps(value) for key, value in sections.items()}, **secrets}
    try:
        validate(StackConfig(draft.name, values, frozenset(secrets))).require(draft.name)
    except ConfigurationError as error:
        return error.problems
    return ()


def _type_of(draft: Draft, zone: str) -> dict[str, str]:
    kind = draft.instance_types.get(zone)
    return {"instanceType": kind} if kind else {}


def _words(problem: Problem) -> str:
    return f"{problem.path.removeprefix(f'{PROJECT}:')} {problem.value or ''}: {problem.reason}"


def _lines(draft: Draft) -> Iterator[str]:
    name = draft.name
    yield f"# Environment '{name}', begun by `{draft.begun_by}` on {datetime.now(UTC):%Y-%m-%d}."
    yield f"# docs/reference/config.md has all keys; `edge doctor {name}` looks it over."
    if not draft.for_rehearsal:
        # Not at the end: Pulumi would take it for a part of the last section.
        yield f"# The secrets are encrypted by the stack's secrets provider; `edge secret set {name} KEY` changes one."
    yield "config:"
    yield f"  aws:region: {draft.region}"
    yield f"  {PROJECT}:sites:"
    for zone in draft.zones:
        where = described(zone)
        yield f"    - zone: {zone} # {where.partition(';')[0] if zone in draft.opt_in else where}"
        yield from (f"      {key}: {value}" for key, value in _type_of(draft, zone).items())
        if zone in draft.opt_in:
            yield f"      optIn: {draft.opt_in[zone]} # the account, to the zone group, for good: only AWS Support takes it back"
    if draft.model != DEFAULT_MODEL:
        yield f"  {PROJECT}:server:"
        yield f"    model: {_text(draft.model)}"
    yield "  # Hosts and addresses cannot be deleted or replaced until `edge unprotect`:"
    yield f"  # {PROJECT}:protect: true"
    yield from _access_lines(draft)
    yield from _routing_lines(draft)
    if draft.for_rehearsal:
        yield f"  # Secrets: `edge keys {name}` makes sshPrivateKey and hostKeySecret; the Hugging Face token is yours:"
        yield f"  # edge secret set {name} huggingFaceToken"


def described(zone: str) -> str:
    """Where a zone is, and what it needs."""
    parsed = parse_zone(zone)
    group = ZONE_GROUPS.get(parsed.group)
    if not parsed.is_local:
        return f"the parent Region, {REGION_NAMES.get(parsed.region, parsed.region)}"
    return f"{group.city if group else 'Local Zone'}; opt in once: --group-name {parsed.group}"


def _access_lines(draft: Draft) -> Iterator[str]:
    both = {"clientCidrs": (draft.client_cidrs, "who may call the endpoints"), "sshCidrs": (draft.ssh_cidrs, "who deploys")}
    is_open = bool(draft.client_cidrs or draft.ssh_cidrs)
    yield f"  {'' if is_open else '# '}{PROJECT}:access:"
    for key, (cidrs, what) in both.items():
        mark = "" if cidrs else "# "
        yield f"  {mark}  {key}: [{', '.join(cidrs) or 'A.B.C.D/32'}] # {what}"


def _routing_lines(draft: Draft) -> Iterator[str]:
    if draft.policy != "latency":
        yield f"  {PROJECT}:routing:"
        yield f"    policy: {draft.policy}"
        if draft.geolocation:
            yield "    geolocation:"
            yield from _table_lines(draft.geolocation)
        yield "    # The service's name, in a public hosted zone of the account:"
        mark = "" if draft.domain else "# "
        yield f"    {mark}domain: {draft.domain or 'llm.YOUR.DOMAIN'}"
        yield f"    {mark}hostedZone: {draft.hosted_zone or 'YOUR.DOMAIN'}"
        return
    if draft.domain:
        yield "  # The service's name, in a public hosted zone of the account:"
        yield f"  {PROJECT}:routing:"
        yield f"    domain: {draft.domain}"
        yield f"    hostedZone: {draft.hosted_zone}"
        return
    if draft.for_rehearsal:
        yield "  # The service's name, in a public hosted zone of the account:"
        yield f"  # {PROJECT}:routing:"
    else:
        yield "  # No name: sites are called by their addresses. In place of the policy, for a name that leads users to the best:"
        yield f"  {PROJECT}:routing:"
        yield "    policy: none"
    yield "  #   domain: llm.YOUR.DOMAIN"
    yield "  #   hostedZone: YOUR.DOMAIN"


def _table_lines(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, str):
            yield f"      {key}: {value}"
        else:
            yield f"      {key}:"
            # In quotes: YAML takes Norway's code for false.
            yield from (f'        "{code}": {zone}' for code, zone in value.items())


def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value)


def hosted_zone_of(domain: str) -> str:
    """The likeliest hosted zone of a service's name: all but its first label."""
    return domain.rstrip(".").partition(".")[2]


def chosen_zones(words: Sequence[str], listed: Sequence[str]) -> tuple[str, ...]:
    """Zones by name, or by their number in a list; UsageError for one that is not there, and for none."""
    if not words:
        raise UsageError("at least one zone is needed: its number in the list, or its name")
    chosen: list[str] = []
    for word in words:
        if word.isdigit() and not 1 <= int(word) <= len(listed):
            raise UsageError(f"there is no number {word} in the list\n  -> 1 to {len(listed)}, or a zone's name")
        chosen.append(listed[int(word) - 1] if word.isdigit() else known_zone(word))
    return tuple(dict.fromkeys(chosen))


def token_from(variable: str | None) -> str | None:
    """The Hugging Face token in an environment variable; UsageError where it has none."""
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise UsageError(f"the variable {variable} is empty or not set\n  -> read -rs {variable} && export {variable}")
    return token
