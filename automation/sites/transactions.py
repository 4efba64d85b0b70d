"""What a host is told by its last step, before and after: whether that takes its server away, and what differs for the config.

Pure. Reads what components/host_steps.py writes; remote/serve.py and remote/containers.py act on it.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from automation.engine.rollout import Effect

_SHOWN_DIGITS = 12
_OF_FLAGS = {
    "--max-input-tokens": "maxInputTokens",
    "--max-total-tokens": "maxTotalTokens",
    "--max-model-len": "maxTotalTokens",
    "--served-model-name": "",  # goes with the model
    "--no-enable-prefix-caching": "prefixCaching",
}
"""What the config calls the engines' own flags (components/engines.py); it calls all others extraArguments."""
_OF_PROXY = {"tls": "endpoint.tls", "asks_for_key": "apiKey", "url": "the site's name"}
Transaction = Mapping[str, Any]
"""What a host is told (components/host_steps.py)."""


def transaction_in(text: str) -> Transaction | None:
    """What a last step's text tells the host; None for an earlier release's, which told it otherwise."""
    with suppress(ValueError):
        _, script, told = ["", "", *shlex.split(text.rpartition("\n")[2])][-3:]
        if script.endswith("/serve.sh"):
            return json_object(told) or None
    return None


def compared(old: str, new: str) -> tuple[Effect, tuple[str, ...]]:
    """What a last step's text does where another one was run before, and what differs in the config's terms."""
    before, after = transaction_in(old), transaction_in(new)
    if after is None:
        return "restart", ("unknown: its command is not this release's",)
    if before is None:
        is_same = re.search(rf"\b{after['digest']}\b", old) is not None
        return ("none", ("the steps of this release",)) if is_same else ("restart", ("from an earlier release to this one",))
    differs = tuple(_server_changes(before, after)) if before["digest"] != after["digest"] else ()
    restarts_proxy, of_proxy = _proxy_changes(before["proxy"], after["proxy"], _port(before), _port(after))
    if before["digest"] != after["digest"] or restarts_proxy:
        return "restart", (*differs, *of_proxy) or ("the server's options",)
    return ("reload", of_proxy) if of_proxy else ("none", ("the steps of this release",))


def _server_changes(old: Transaction, new: Transaction) -> Iterator[str]:
    yield from _differing("model", *(_model(each)[0] for each in (old, new)))
    if _model(old)[0] == _model(new)[0]:
        yield from _differing("revision", *(_model(each)[1][:_SHOWN_DIGITS] for each in (old, new)))
    engines = [_options(each).get("edge-inference.engine", "") for each in (old, new)]
    yield from _differing("engine", *engines)
    if engines[0] != engines[1]:
        return  # image and flags are the engine's
    yield from _differing("image", str(old["image"]), str(new["image"]))
    options, flags = ([each(told) for told in (old, new)] for each in (_options, _flags))
    if options[0].get("PREFIX_CACHING") != options[1].get("PREFIX_CACHING"):
        yield f"prefixCaching {'off' if options[1].get('PREFIX_CACHING') else 'on'}"
    for flag in dict.fromkeys([*flags[0], *flags[1]]):
        yield from _flag_change(flag, flags[0].get(flag), flags[1].get(flag))
    if options[0]["-p"] != options[1]["-p"] and not (old["proxy"] or new["proxy"]):
        yield "endpoint.port"


def _flag_change(flag: str, old: str | None, new: str | None) -> Iterator[str]:
    called = _OF_FLAGS.get(flag)
    if old == new or called == "":
        return
    if called == "prefixCaching":
        yield f"prefixCaching {'on' if new is None else 'off'}"
    elif called is None:
        values = f" {new}" if old is None else "" if new is None else f" {old} to {new}"
        yield f"extraArguments {'without ' if new is None else ''}{flag}{values}".rstrip()
    else:
        yield f"{called} {old} to {new}"


def _proxy_changes(old: Transaction | None, new: Transaction | None, *ports: str) -> tuple[bool, tuple[str, ...]]:
    """Whether the proxy starts anew (remote/containers.py says when), and what is another in it."""
    if old is None or new is None:
        word = "no proxy any more (endpoint.tls, apiKey)" if new is None else "a proxy (endpoint.tls, apiKey)"
        return (False, ()) if old == new else (True, (word,))
    anew = [*_differing("endpoint.proxyImage", str(old["image"]), str(new["image"])), *_differing("endpoint.port", *ports)]
    config = [called for name, called in _OF_PROXY.items() if old[name] != new[name] and not anew]
    logs = [] if "key_names" in old else ["the log of requests"]
    kinds = [name for name, has in (("API keys", new["asks_for_key"]), ("certificate", new["tls"])) if has]
    secrets = [" or ".join(kinds)] if old["secrets"] != new["secrets"] and kinds else []
    names = [] if logs or secrets or config or old["key_names"] == new["key_names"] else ["names of API keys"]
    return bool(anew), (*anew, *config, *secrets, *names, *logs)


def _differing(name: str, old: str, new: str) -> list[str]:
    return [] if old == new else [f"{name} {old} to {new}"]


def _model(told: Transaction) -> tuple[str, str]:
    name, _, revision = str(told["weights"]).replace("--", "/", 1).partition("@")
    return name, revision


def _port(told: Transaction) -> str:
    proxy: Mapping[str, Any] = told["door"].get("proxy") or {}
    return str(proxy.get("port"))


def _options(told: Transaction) -> dict[str, str]:
    """The options of `docker run`: `-e` and `--label` by what they set."""
    words = iter(cast("list[str]", told["options"]))
    found: dict[str, str] = {}
    for option, value in zip(words, words, strict=True):
        name, _, setting = value.partition("=")
        found |= {option: value} if option == "-p" else {name: setting}
    return found


def _flags(told: Transaction) -> dict[str, str]:
    """The server's own flags with the words that follow each."""
    found: dict[str, list[str]] = {}
    latest: list[str] = []
    for word in cast("list[str]", told["arguments"]):
        if word.startswith("--"):
            flag, is_joined, value = word.partition("=")
            latest = found.setdefault(flag, [])
            latest += [value] if is_joined else []
        else:
            latest.append(word)
    return {flag: " ".join(words) for flag, words in found.items()}


def json_object(text: str) -> dict[str, Any]:
    """What a text holds; nothing where it is no JSON object."""
    with suppress(ValueError):
        found: Any = json.loads(text)
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
    return {}
