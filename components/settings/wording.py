"""How this project words what is wrong with a config: pydantic's errors in its own terms, and the line to paste for each.

Leaves out finding what is wrong: sections.py, rules.py and reading.py do.
"""

import difflib
import json
import re
from typing import Any

from pydantic.alias_generators import to_camel

from components import PROJECT
from components.problems import Problem, path_part
from components.remedies import ENVIRONMENT, secret_line, set_line, unset_line
from components.settings.sections import SECTIONS, GeolocationSettings, SiteSettings

SECRET_FIXES = {
    "sshPrivateKey": (
        f"edge keys {ENVIRONMENT}   # makes one where there is none; one of your own: {secret_line('sshPrivateKey')} < FILE"
    ),
    "hostKeySecret": f"openssl rand -hex 32 | {secret_line('hostKeySecret')}   # or, if missing: edge keys {ENVIRONMENT}",
    "huggingFaceToken": f"{secret_line('huggingFaceToken')}   # asks for the token, and does not show it",
    "tlsCertificate": f"{secret_line('tlsCertificate')} < fullchain.pem",
    "tlsPrivateKey": f"{secret_line('tlsPrivateKey')} < privkey.pem",
    "acmeAccount": f"edge certificate {ENVIRONMENT}",
    "apiKey": f"openssl rand -hex 32 | {secret_line('apiKey')}",
    "apiKeys": f"openssl rand -hex 32 | {secret_line('apiKeys.NAME')}",
}
EXAMPLES = {
    "access.clientCidrs": set_line("access.clientCidrs[0]", "A.B.C.D/32   # a caller's address"),
    "access.sshCidrs": set_line("access.sshCidrs[0]", "A.B.C.D/32   # this machine's address"),
    "routing.domain": set_line("routing.domain", "llm.YOUR.DOMAIN"),
    "routing.hostedZone": set_line("routing.hostedZone", "YOUR.DOMAIN"),
    "routing.geolocation.default": set_line("routing.geolocation.default", "ZONE   # one of `sites`"),
    "sites": set_line("sites", "'[{zone: us-west-2-lax-1a}]'"),
    "protect": set_line("protect", "true"),
}
_SECTION_FIXES = {
    "domain": EXAMPLES["routing.domain"],
    "hostedZone": EXAMPLES["routing.hostedZone"],
    "hostedZoneId": unset_line("routing.hostedZoneId"),
    "instanceTypes": f"edge config {ENVIRONMENT} 'SITE.instanceType' --unset",
    "maxTotalTokens": f"{set_line('server.maxInputTokens', '3072')} && {set_line('server.maxTotalTokens', '4096')}",
}
"""Lines to paste for rules over a whole section, by the field that the rule's text begins with."""
_KINDS = {
    "model_type": "is no map of keys",
    "dict_type": "is no map of keys",
    "list_type": "is no list",
    "string_type": "is no text",
    "int_type": "is no whole number",
    "float_type": "is no number",
    "bool_type": "is neither true nor false",
}
"""What a value of another kind is not, by pydantic's name of the error."""
NO_DEFAULT = "is missing: places without a zone of their own, and addresses that Route 53 cannot place, would get no answer"


SECRET_NAMES = tuple(SECRET_FIXES)
SECRET_KEYS = frozenset(f"{PROJECT}:{key}" for key in SECRET_NAMES)
"""Keys whose values must never stand in clear."""
KNOWN_KEYS = (*SECTIONS, "sites", "drained", "tags", "protect")
"""The keys of plain values."""
_NAMESPACES = (PROJECT, "aws")


def namespace_problem(key: str) -> Problem | None:
    """A key that a misspelt namespace has led astray: the engine takes any, and nobody would read it."""
    namespace, _, name = key.partition(":")
    if namespace in {*_NAMESPACES, "pulumi"}:
        return None
    is_ours = name in {*KNOWN_KEYS, *SECRET_NAMES}
    close = [PROJECT] if is_ours else difflib.get_close_matches(namespace.strip().lower(), _NAMESPACES, n=1)
    meant = f"{close[0]}:{name}" if close else None
    return Problem(key, None, f"nobody reads this key; did you mean {meant}?", unset_line(key)) if meant else None


def problem_of(key: str, detail: dict[str, Any], raw: object) -> Problem:
    """A pydantic error in the words of this project."""
    is_key = bool(detail["loc"]) and detail["loc"][-1] == "[key]"
    path = key + "".join(path_part(part) for part in (detail["loc"][:-1] if is_key else detail["loc"]))
    where = f"{PROJECT}:{path}"
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        model = SiteSettings if key.startswith("sites") else SECTIONS[key]
        if len(detail["loc"]) > 1:  # the only section within a section
            model = GeolocationSettings
        return unknown_key(
            where, str(detail["loc"][-1]), [each.alias or to_camel(name) for name, each in model.model_fields.items()]
        )
    if kind == "missing":
        reason = NO_DEFAULT if path == "routing.geolocation.default" else "is missing"
        return Problem(where, None, reason, _fix(path))
    told = str(detail["ctx"]["error"]) if kind == "value_error" else _lower_first(str(detail["msg"]))
    reason = _KINDS.get(kind, told)
    if is_key:
        return Problem(where, None, f"the key {reason}", unset_line(where))
    if value is raw and isinstance(value, dict):  # a rule over the whole section
        named = [name for name in _SECTION_FIXES if name in re.split(r"[\s:]+", reason.partition(": ")[0])]
        return Problem(where, None, reason, "\n".join(_SECTION_FIXES[name].replace("SITE", path) for name in named))
    if key == "tags" and isinstance(value, bool | int | float):
        return Problem(where, json.dumps(value), reason, set_line(where, f"'\"{json.dumps(value)}\"'"))
    return Problem(where, json.dumps(value), reason, _fix(path))


def _fix(path: str) -> str:
    """The line to paste for a key path."""
    index = re.search(r"\[\d+\]$", path)
    if index and (example := EXAMPLES.get(path[: index.start()])):
        return example.replace("[0]", index[0])
    return EXAMPLES.get(path, set_line(path, "VALUE"))


def unknown_key(where: str, name: str, known: list[str]) -> Problem:
    """A key that is not known; the nearest known one is named."""
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
    return Problem(where, None, f"no such key{meant}", unset_line(where))


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
