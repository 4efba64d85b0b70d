"""HTTPS and API key: what the config refuses, what the program makes of them, and where the secrets do not stand."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from component_helpers import aws_facts, checked_config, problems, serving_spec, settings, sites, stack_config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from recorded_program import address_of, deploy

from automation.account.keys import new_certificate
from components.certificates import covers
from components.host_steps import ServingSpec, serving_steps
from components.preflight import warnings
from components.proxy import SECRETS_MARK, caddy_config, key_mark, secret_lines

DOMAIN = "llm.edge.acme.dev"
KEY = "c2VjcmV0.c2VjcmV0~c2Vj-cmV0"
LAX = "us-west-2-lax-1a"
TLS = {"endpoint": {"tls": True}}


@cache
def pair(*names: str) -> tuple[str, str]:
    return new_certificate(list(names) or [DOMAIN, f"*.sites.{DOMAIN}"])


def with_tls(certificate: str = "", key: str = "", **sections: Any) -> dict[str, Any]:
    """Sections of a config with TLS."""
    made = pair()
    return {**TLS, "tlsCertificate": certificate or made[0], "tlsPrivateKey": key or made[1], **sections}


def test_good_endpoints() -> None:
    assert problems(stack_config(**with_tls(), apiKey=KEY)) == {}
    assert problems(stack_config(apiKey=KEY)) == {}
    assert problems(stack_config(apiKey=f"{KEY}\n")) == {}, "as a pipe stores it"


@pytest.mark.parametrize(
    ("endpoint", "port", "url"),
    [
        ({}, 8080, "http://a.dev:8080"),
        ({"port": 80}, 80, "http://a.dev"),
        ({"tls": True}, 443, "https://a.dev"),
        ({"tls": True, "port": 8443}, 8443, "https://a.dev:8443"),
        ({"port": 443}, 443, "http://a.dev:443"),
    ],
)
def test_port_and_url(endpoint: dict[str, Any], port: int, url: str) -> None:
    found = settings(**with_tls(endpoint=endpoint)).endpoint
    assert (found.public_port, found.url("a.dev")) == (port, url)


@cache
def other_key() -> str:
    return pair("other.dev")[1]


def encrypted_key() -> str:
    secret = serialization.BestAvailableEncryption(b"passphrase")
    return (
        Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret).decode()
    )


def old() -> tuple[str, str]:
    return new_certificate([DOMAIN, f"*.sites.{DOMAIN}"], datetime.now(UTC) - timedelta(days=100), days=90)


def early() -> tuple[str, str]:
    return new_certificate([DOMAIN, f"*.sites.{DOMAIN}"], datetime.now(UTC) + timedelta(days=2))


REFUSALS: list[tuple[str, dict[str, Any], str, str]] = [
    # name, sections, path, part of the reason
    ("nothing", TLS, "tlsCertificate", "is missing, and so is its key, and endpoint.tls is true"),
    ("no certificate", {**TLS, "tlsPrivateKey": pair()[1]}, "tlsCertificate", "is missing"),
    ("no key", {**TLS, "tlsCertificate": pair()[0]}, "tlsPrivateKey", "is missing"),
    ("not PEM", with_tls("certificate"), "tlsCertificate", "no certificate chain in PEM"),
    ("key for a certificate", with_tls(pair()[1]), "tlsCertificate", "no certificate chain in PEM"),
    ("key not PEM", with_tls(key="key"), "tlsPrivateKey", "no private key in PEM"),
    ("passphrase", with_tls(key=encrypted_key()), "tlsPrivateKey", "passphrase"),
    ("another's key", with_tls(key=other_key()), "tlsPrivateKey", "is not the key of tlsCertificate"),
    ("expired", with_tls(*old()), "tlsCertificate", "expired on 20"),
    ("too early", with_tls(*early()), "tlsCertificate", "is not valid before"),
    ("service only", with_tls(*pair(DOMAIN)), "tlsCertificate", f"but not us-west-2a.sites.{DOMAIN}, {LAX}.sites.{DOMAIN}"),
    ("sites only", with_tls(*pair(f"*.sites.{DOMAIN}")), "tlsCertificate", f"but not {DOMAIN} ("),
    ("one label", with_tls(*pair(DOMAIN, f"*.{DOMAIN}")), "tlsCertificate", "a wildcard stands for one label"),
    ("one site", with_tls(*pair(DOMAIN, f"{LAX}.sites.{DOMAIN}")), "tlsCertificate", f"but not us-west-2a.sites.{DOMAIN} ("),
    ("no name at all", with_tls(routing={"policy": "none"}), "endpoint.tls", "no certificate fits a bare address"),
    ("short key", {"apiKey": "0123456789abcde"}, "apiKey", "at least 16"),
    ("blank in the key", {"apiKey": "0123456789abcdef 0123"}, "apiKey", "without blanks"),
    ("Caddy's placeholder", {"apiKey": "{env.HOME}0123456789abcdef"}, "apiKey", "RFC 6750"),
    ("named key too short", {"apiKeys": {"alice": "0123"}}, "apiKeys.alice", "at least 16"),
    ("keys without names", {"apiKeys": "0123456789abcdef"}, "apiKeys", "no map of keys by their names"),
    ("a key's name", {"apiKeys": {"a b": "0123456789abcdef"}}, "apiKeys", "no map of keys by their names"),
    ("Caddy's wildcard", {"apiKey": "0123456789abcdef*"}, "apiKey", "RFC 6750"),
    ("image", {"endpoint": {"proxyImage": "caddy; id"}}, "endpoint.proxyImage", "pattern"),
    ("server's own key", {"server": {"extraArguments": ["--api-key=x"]}}, "server.extraArguments[0]", "edge-inference:apiKey"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "path", "reason"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refusals(sections: dict[str, Any], path: str, reason: str) -> None:
    found = problems(stack_config(**sections))
    assert list(found) == [path]
    assert reason in found[path].reason
    assert re.match(r"(openssl|edge (config|secret set|certificate)) ", found[path].fix)
    if path in {"tlsCertificate", "tlsPrivateKey", "apiKey"}:
        assert found[path].value is None
        assert len(sections.get(path, "")) < 16 or sections[path].strip() not in str(found[path])


def test_a_missing_certificate_names_the_one_line_that_obtains_it() -> None:
    (problem,) = problems(stack_config(endpoint={"tls": True})).values()
    assert problem.told_to("dev").fix == "edge certificate dev"


def test_secrets_in_clear_are_refused_once() -> None:
    found = problems(stack_config(**with_tls(), apiKey=KEY, clear=("tlsCertificate", "tlsPrivateKey", "apiKey")))
    assert list(found) == ["tlsCertificate", "tlsPrivateKey", "apiKey"]
    assert all("stands in clear" in problem.reason for problem in found.values())


def test_an_account_at_a_ca_in_clear_is_made_again() -> None:
    (problem,) = problems(stack_config(acmeAccount="{}", clear=("acmeAccount",))).values()
    assert problem.told_to("dev").fix == "edge config dev acmeAccount --unset   # then: edge certificate dev"


@pytest.mark.parametrize(
    ("pattern", "name", "does"),
    [
        ("a.dev", "a.dev", True),
        ("A.dev", "a.DEV", True),
        ("*.a.dev", "b.a.dev", True),
        ("*.a.dev", "a.dev", False),
        ("*.a.dev", "c.b.a.dev", False),
        ("b.a.dev", "a.dev", False),
        ("*", "dev", False),
    ],
)
def test_wildcards_count_one_label(pattern: str, name: str, does: bool) -> None:
    assert covers(pattern, name) is does


def test_warnings() -> None:
    def said(**sections: Any) -> str:
        config = settings(**sections)
        return "\n".join(warnings(config, aws_facts(config)))

    assert "apiKey travels in clear" in said(apiKey=KEY)
    assert said(**with_tls(), apiKey=KEY) == ""
    soon = new_certificate([DOMAIN, f"*.sites.{DOMAIN}"], days=3)
    assert "tlsCertificate expires on" in said(**with_tls(*soon))
    assert "edge certificate dev" in said(**with_tls(*soon))


# What the program makes of them


def test_resources_with_tls() -> None:
    deployed = deploy(checked_config(**with_tls(), apiKey=KEY))
    checks = deployed.of_kind("HealthCheck")
    assert len(checks) == 2
    for check in checks:
        replica = check.name.removeprefix("routing-health-")
        assert (check.inputs["type"], check.inputs["port"]) == ("HTTP", 442), "the door's, which asks the proxy"
        assert check.inputs["ipAddress"] == address_of(f"{replica}-address")
    ports = {(rule.inputs["fromPort"], rule.inputs["toPort"]) for rule in deployed.of_kind("SecurityGroupIngressRule")}
    assert ports == {(22, 22), (443, 443), (442, 443)}, "nothing leads past the proxy"
    for record in deployed.of_kind("Record"):
        if record.inputs.get("records"):
            assert any(label.endswith("-ready") for label in record.depends_on), "a record is there only when its site serves"


def test_outputs_with_tls() -> None:
    outputs = deploy(checked_config(**with_tls(endpoint={"tls": True, "port": 8443}))).outputs
    assert outputs["service_url"] == f"https://{DOMAIN}:8443"
    assert outputs["endpoint_urls"][LAX] == f"https://{LAX}.sites.{DOMAIN}:8443"
    (replica,) = outputs["sites"][LAX]["replicas"]
    assert (replica["address"], replica["url"]) == (address_of(f"{LAX}-1-address"), outputs["endpoint_urls"][LAX])


def test_a_key_alone_keeps_addresses() -> None:
    outputs = deploy(checked_config(apiKey=KEY, sites=sites(LAX))).outputs
    assert outputs["endpoint_urls"][LAX] == f"http://{address_of(f'{LAX}-1-address')}:8080"


def test_secrets_are_on_standard_input_of_one_step_alone() -> None:
    certificate, key = pair()
    deployed = deploy(checked_config(**with_tls(), apiKey=KEY, sites=sites(LAX)))
    expected = secret_lines(certificate, key, KEY)
    for command in deployed.of_kind("Command"):
        stdin = command.inputs.pop("stdin", None)
        assert (stdin == expected) == (command.name == f"{LAX}-1-proxy")
        assert stdin is None or command.name.endswith("-scripts") or "stdin" in command.secret_inputs
    shown = json.dumps([each.inputs for each in deployed])
    for secret in (KEY, certificate.splitlines()[1], key.splitlines()[1]):
        assert secret not in shown


def test_unused_secrets_stay_here() -> None:
    deployed = deploy(checked_config(**with_tls(endpoint={}), apiKey=f"{KEY}\n", sites=sites(LAX)))
    assert deployed.one("Command", f"{LAX}-1-proxy").inputs["stdin"] == f"\n\n{KEY}\n"


# Steps


def names(spec: ServingSpec) -> list[str]:
    return [step.name for step in serving_steps(spec)]


def text(spec: ServingSpec, name: str) -> str:
    return next(step.text for step in serving_steps(spec) if step.name == name)


def test_a_proxy_is_laid_ready_before_the_one_step_that_touches_what_serves() -> None:
    assert names(serving_spec(apiKey=KEY)) == names(serving_spec()) == ["prepare", "image", "weights", "proxy", "ready"]
    assert text(serving_spec(), "proxy").endswith("/stage-proxy.sh")


def test_the_server_is_on_the_loopback_behind_a_proxy() -> None:
    assert '["-p","127.0.0.1:8080:80",' in text(serving_spec(**with_tls()), "ready")
    assert '["-p","127.0.0.1:8081:80",' in text(serving_spec(apiKey=KEY), "ready"), "the proxy has 8080"
    assert '["-p","8080:80",' in text(serving_spec(), "ready")


def ready(**sections: Any) -> str:
    """The last step's text of a program."""
    return str(deploy(checked_config(**sections, sites=sites(LAX))).one("Command", f"{LAX}-1-ready").inputs["create"])


def test_another_key_or_certificate_has_the_proxy_reload_in_turn_and_stands_in_no_text() -> None:
    """Standard input is another for the step that lays it ready; the last step's text says that, and nothing of the secret."""
    one = ready(**with_tls(), apiKey=KEY)
    assert one == ready(**with_tls(), apiKey=KEY)
    assert (
        len(
            {
                one,
                ready(**with_tls(), apiKey=KEY[::-1]),
                ready(**with_tls(*new_certificate([DOMAIN, f"*.sites.{DOMAIN}"])), apiKey=KEY),
            }
        )
        == 3
    )
    assert SECRETS_MARK not in one
    assert hashlib.sha256(KEY.encode()).hexdigest()[:16] not in one


def test_several_keys_are_valid_at_once() -> None:
    keys = {"alice": KEY[::-1], "bob": KEY.replace("a", "b")}
    assert settings(apiKeys=keys, apiKey=f"{KEY}\n").secrets.all_api_keys == {"apiKey": KEY, **keys}
    assert secret_lines("", "", KEY, *keys.values()) == f"\n\n{KEY} {keys['alice']} {keys['bob']}\n"
    proxy = serving_spec(apiKeys=keys).proxy
    assert proxy
    assert proxy.key_names == ("alice", "bob")
    shown = json.dumps(caddy_config(proxy))
    assert [shown.count(key_mark(number)) for number in (1, 2, 3)] == [1, 1, 0]


def test_another_name_of_a_key_reaches_the_proxy_too() -> None:
    """Its values, which the last step's digest is of, are the same."""
    assert ready(apiKeys={"alice": KEY}) != ready(apiKeys={"bob": KEY})


def test_config_has_a_mark_for_the_key_once_and_asks_only_where_there_is_one() -> None:
    with_key, without = serving_spec(**with_tls(), apiKey=KEY).proxy, serving_spec(**with_tls()).proxy
    assert with_key
    assert without
    assert json.dumps(caddy_config(with_key)).count(key_mark(1)) == 1
    assert key_mark(1) not in json.dumps(caddy_config(without))
