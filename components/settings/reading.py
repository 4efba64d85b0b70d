"""Reads a stack's whole config and reports everything that is wrong with it at once.

Judges what can be judged without asking anyone. Leaves out reading the engine: stack_config.py does.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, TypeVar, cast

from pydantic import SecretStr, TypeAdapter, ValidationError

from components import PROJECT
from components.host_identity import deployer_public_key
from components.problems import Problem
from components.remedies import secret_line, set_line, unset_line
from components.settings.rules import place_problems, subnet_problems, tag_problems, tls_problems
from components.settings.sections import (
    SECTIONS,
    AccessSettings,
    EndpointSettings,
    HostSettings,
    NetworkSettings,
    RoutingSettings,
    Secrets,
    Section,
    ServerSettings,
    SiteSettings,
)
from components.settings.stack import Settings, StackConfig, Validated
from components.settings.values import EachOnce, KeyName, TagKey, TagValue, ZoneName
from components.settings.wording import (
    EXAMPLES,
    KNOWN_KEYS,
    SECRET_FIXES,
    SECRET_NAMES,
    namespace_problem,
    problem_of,
    unknown_key,
)
from components.zones import is_region

_Value = TypeVar("_Value")
_API_KEY = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token may consist of (RFC 6750, b64token)."""
_SHORTEST_API_KEY = 16
_OTHER_SSH_KEY = f"ssh-keygen -q -t ed25519 -N '' -f deployer && {secret_line('sshPrivateKey')} < deployer"
_REQUIRED_SECRETS = frozenset({"sshPrivateKey", "hostKeySecret"})
_DRAINED = TypeAdapter(Annotated[list[ZoneName], EachOnce])
_PROTECT = TypeAdapter(bool)
_NAMED_KEYS = TypeAdapter(dict[KeyName, str])
_TAGS = TypeAdapter(dict[TagKey, TagValue])
_REGION = "aws:region"


def validate(config: StackConfig) -> Validated:
    """Reads a stack's whole config and reports everything that is wrong with it at once."""
    reader = _Reader(config)
    sections = {key: reader.section(key, model) for key, model in SECTIONS.items()}
    sites = reader.sites()
    drained = reader.typed("drained", _DRAINED, default=[])
    tags = reader.typed("tags", _TAGS, default={})
    protect = reader.typed("protect", _PROTECT, default=False)
    secrets = reader.secrets()
    endpoint, routing = cast("EndpointSettings | None", sections["endpoint"]), cast("RoutingSettings | None", sections["routing"])
    problems = [
        *reader.unknown_keys(),
        *reader.problems,
        *(
            ()
            if reader.is_wrong("sites") or reader.is_sealed("sites")
            else place_problems(sites.values(), routing, drained or [])
        ),
        *subnet_problems(sites, cast("NetworkSettings | None", sections["network"])),
        *tag_problems(tags or {}, routing),
        *(tls_problems(reader.pair(), reader.unread, routing, sites.values()) if endpoint and endpoint.tls else ()),
    ]
    settings = None
    if not problems and secrets and not reader.unread:
        settings = Settings(
            stack=config.stack,
            sites=tuple(sites.values()),
            drained=tuple(drained or ()),
            tags=tags or {},
            protect=protect or False,
            secrets=secrets,
            **cast("dict[str, Any]", sections),
        )
    return Validated(
        settings,
        tuple(problems),
        config.stack,
        sites,
        server=cast("ServerSettings | None", sections["server"]),
        access=cast("AccessSettings | None", sections["access"]),
        routing=routing,
        host=cast("HostSettings | None", sections["host"]),
        endpoint=endpoint,
        hugging_face_token=reader.secret("huggingFaceToken"),
    )


class _Reader:
    """Reads one config, collecting problems."""

    def __init__(self, config: StackConfig) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.unread: set[str] = set()
        """Secrets that are there and not judged: they stand in clear, and are refused for it, or nobody has decrypted them."""

    def unknown_keys(self) -> Iterator[Problem]:
        known = [*KNOWN_KEYS, *SECRET_NAMES]
        for key in self._config.values:
            namespace, _, name = key.partition(":")
            if namespace == PROJECT and name not in known:
                yield unknown_key(key, name, known)
            elif problem := namespace_problem(key):
                yield problem
        region = self._config.values.get(_REGION, "")
        if region and not is_region(region):
            reason = "is no Region's name: write it like us-west-2"
            yield Problem(_REGION, json.dumps(region), reason, set_line(_REGION, "us-west-2"))

    def is_sealed(self, key: str) -> bool:
        """Whether a key is set to what nobody has decrypted: the names of secrets are told, not their values."""
        full = f"{PROJECT}:{key}"
        return full in self._config.secret_keys and full not in self._config.values

    def section(self, key: str, model: type[Section]) -> Section | None:
        return self.typed(key, TypeAdapter(model), default={})

    def sites(self) -> dict[int, SiteSettings]:
        """The well-formed sites by their place; a zone that stands there twice counts once."""
        raw = self._json("sites", default=[])
        if self.is_sealed("sites"):
            return {}
        if not isinstance(raw, list) or not raw:
            shown = None if raw in ([], None) else json.dumps(raw)
            self._add("sites", shown, "no site: at least one zone must be chosen", EXAMPLES["sites"])
            return {}
        sites: dict[int, SiteSettings] = {}
        for index, entry in enumerate(cast("list[object]", raw)):
            site = self._validated(f"sites[{index}]", TypeAdapter(SiteSettings), entry)
            if site is None:
                continue
            if site.zone in {other.zone for other in sites.values()}:
                self._add(
                    f"sites[{index}].zone",
                    json.dumps(site.zone),
                    "is there twice; a zone is one site, and `replicas` gives it more instances",
                    unset_line(f"sites[{index}]"),
                )
                continue
            sites[index] = site
        return sites

    def secret(self, name: str) -> SecretStr | None:
        """A secret's value, unless it stands in clear, or is wrong."""
        key = f"{PROJECT}:{name}"
        value = self._config.values.get(key)
        return SecretStr(value) if value and key in self._config.secret_keys and not self.is_wrong(name) else None

    def pair(self) -> dict[str, SecretStr | None]:
        """Certificate and key."""
        return {name: self.secret(name) for name in ("tlsCertificate", "tlsPrivateKey")}

    def secrets(self) -> Secrets | None:
        given: dict[str, str] = {}
        for key, fix in SECRET_FIXES.items():
            value = self._config.values.get(f"{PROJECT}:{key}", "")
            if value and f"{PROJECT}:{key}" not in self._config.secret_keys:
                self._add(
                    key,
                    None,
                    "stands in clear in the stack's file; treat it as known to others, make a new one",
                    f"{unset_line(key)}   # then: {fix}",
                )
                self.unread.add(key)
            elif value:
                given[key] = value
            elif self.is_sealed(key):
                self.unread.add(key)
            elif key in _REQUIRED_SECRETS:
                self._add(key, None, "is missing", fix)
        named = self._named_keys(given.pop("apiKeys", "{}"))
        self._judge_secrets(given)
        self._judge_api_keys(given, named)
        if not given.keys() >= _REQUIRED_SECRETS:
            return None
        return Secrets.model_validate({**given, "apiKeys": named})

    def _named_keys(self, text: str) -> dict[str, str]:
        """`apiKeys` by name."""
        with suppress(ValueError, RecursionError):
            return _NAMED_KEYS.validate_python(json.loads(text), strict=True)
        self._add("apiKeys", None, "is no map of keys by their names (letters, digits, - and _)", SECRET_FIXES["apiKeys"])
        return {}

    def _judge_api_keys(self, given: Mapping[str, str], named: Mapping[str, str]) -> None:
        keys = {"apiKey": given["apiKey"]} if "apiKey" in given else {}
        for path, text in (keys | {f"apiKeys.{name}": key for name, key in named.items()}).items():
            key = text.removesuffix("\n")
            if len(key) >= _SHORTEST_API_KEY and _API_KEY.fullmatch(key):
                continue
            reason = f"is no key of at least {_SHORTEST_API_KEY} letters, digits and . _ ~ + / - (RFC 6750), without blanks"
            section, _, name = path.partition(".")
            self._add(path, None, reason, SECRET_FIXES[section].replace("NAME", name))

    def _judge_secrets(self, given: Mapping[str, str]) -> None:
        if "sshPrivateKey" in given:
            try:
                deployer_public_key(given["sshPrivateKey"])
            except ValueError as error:
                self._add("sshPrivateKey", None, str(error), _OTHER_SSH_KEY)
        if "hostKeySecret" in given and not re.fullmatch(r"[0-9a-f]{64}", given["hostKeySecret"].strip()):
            self._add("hostKeySecret", None, "is not 64 hex digits (32 random bytes)", SECRET_FIXES["hostKeySecret"])
        token = given.get("huggingFaceToken", "").strip()
        if foreign := re.search(r"[^!-~]", token):
            found = unicodedata.name(foreign[0], f"U+{ord(foreign[0]):04X}")
            reason = (
                f"is no token: its character {foreign.start() + 1} is {found}, and tokens are letters, digits and signs of ASCII"
            )
            self._add("huggingFaceToken", None, reason, SECRET_FIXES["huggingFaceToken"])

    def is_wrong(self, key: str) -> bool:
        """Whether something under a key has a problem."""
        return any(problem.path.startswith(f"{PROJECT}:{key}") for problem in self.problems)

    def typed(self, key: str, adapter: TypeAdapter[_Value], default: object) -> _Value | None:
        return None if self.is_sealed(key) else self._validated(key, adapter, self._json(key, default))

    def _json(self, key: str, default: object) -> object:
        text = self._config.values.get(f"{PROJECT}:{key}")
        if not text:
            return default
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def _validated(self, key: str, adapter: TypeAdapter[_Value], raw: object) -> _Value | None:
        try:
            return adapter.validate_python(raw, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            is_secret = f"{PROJECT}:{key.partition('[')[0]}" in self._config.secret_keys
            for detail in error.errors(include_url=False):
                problem = problem_of(key, cast("dict[str, Any]", detail), raw)
                self.problems.append(replace(problem, value=None) if is_secret else problem)
            # A rule over the whole section is judged only when every key is known.
            unknown = {each["loc"][0] for each in error.errors() if each["type"] == "extra_forbidden" and len(each["loc"]) == 1}
            if unknown and isinstance(raw, dict) and len(unknown) == error.error_count():
                known = {name: value for name, value in cast("dict[str, object]", raw).items() if name not in unknown}
                self._validated(key, adapter, known)
            return None

    def _add(self, key: str, value: str | None, reason: str, fix: str) -> None:
        self.problems.append(Problem(f"{PROJECT}:{key}", value, reason, fix))
