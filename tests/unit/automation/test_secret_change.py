"""A secret by name: what is none, what the program would refuse, and how it lies beside others. The engine stands aside."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from checked_settings import stack_config

from automation.account.keys import new_certificate, new_deployer_key
from automation.engine import secret_change
from automation.engine.deployed import Deployed
from automation.engine.secret_change import (
    SecretName,
    api_keys,
    parsed_secret,
    remove_secret,
    secret_names,
    store_secret,
    with_secrets,
)
from automation.errors import NothingDeployedError, UsageError
from components.dns_plan import certificate_names
from components.settings import StackConfig

LONG = "k" * 32


class Prod:
    """An environment whose config is in memory; `done` is what the engine was to do."""

    name = arguments = "prod"

    def __init__(self, folder: Path, config: StackConfig, file: dict[str, Any] | None = None) -> None:
        self.logs, self.stack_file, self.config = folder, folder / "Pulumi.prod.yaml", config
        self.done: list[tuple[str, Any]] = []
        self.is_there = True
        self.stack_file.write_text(json.dumps({"config": file or {}}))

    def open(self, *, may_start: bool, may_create: bool = False) -> Any:
        del may_start, may_create
        if not self.is_there:
            raise NothingDeployedError("there is none")
        return SimpleNamespace(workspace=SimpleNamespace(work_dir=str(self.stack_file.parent)))

    def config_in_stack(self, _: object) -> StackConfig:
        return self.config


@pytest.fixture
def prod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prod:
    found = Prod(tmp_path, stack_config("us-west-2a"))

    def stored(_: object, values: dict[str, str]) -> None:
        found.done.append(("set", values))

    def taken_away(_: object, key: str) -> None:
        found.done.append(("unset", key))

    monkeypatch.setattr(secret_change, "set_secrets", stored)
    monkeypatch.setattr(secret_change, "unset_secret", taken_away)
    return found


def deployed(prod: Prod) -> Deployed:
    return cast("Deployed", prod)


def with_keys(prod: Prod, **keys: str) -> None:
    prod.config = with_secrets(prod.config, {"edge-inference:apiKeys": json.dumps(keys)})


@pytest.mark.parametrize(
    ("text", "secret", "path"),
    [
        ("apiKey", SecretName("apiKey"), "edge-inference:apiKey"),
        ("edge-inference:huggingFaceToken", SecretName("huggingFaceToken"), "edge-inference:huggingFaceToken"),
        ("apiKeys.mobile-2", SecretName("apiKeys", "mobile-2"), "edge-inference:apiKeys.mobile-2"),
    ],
)
def test_what_a_person_names(text: str, secret: SecretName, path: str) -> None:
    assert (parsed_secret(text, "prod"), secret.path) == (secret, path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server.model", "is no secret; they are .*\n  -> edge config prod server.model"),
        ("apiKeys", "names no secret: apiKeys are set one by one"),
        ("apiKey.mobile", "names no secret"),
        ("apiKeys.", "is no name of a key"),
        ("apiKeys.a b", "is no name of a key"),
        (f"apiKeys.{'n' * 65}", "is no name of a key"),
    ],
)
def test_what_names_no_secret(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parsed_secret(text, "prod")


def test_a_secret_is_stored_without_the_white_space_around_it_where_it_is_one_of_several(prod: Prod) -> None:
    store_secret(deployed(prod), SecretName("huggingFaceToken"), "hf_" + "t" * 30)
    store_secret(deployed(prod), SecretName("apiKeys", "mobile"), f"{LONG}\n")
    assert prod.done == [
        ("set", {"edge-inference:huggingFaceToken": "hf_" + "t" * 30}),
        ("set", {"edge-inference:apiKeys.mobile": LONG}),
    ]


def test_keys_that_were_stored_as_one_stay_one(prod: Prod) -> None:
    with_keys(prod, web=LONG)
    prod.stack_file.write_text(json.dumps({"config": {"edge-inference:apiKeys": {"secure": "v1:x"}}}))
    store_secret(deployed(prod), SecretName("apiKeys", "mobile"), "m" * 32)
    ((verb, values),) = prod.done
    assert (verb, json.loads(values["edge-inference:apiKeys"])) == ("set", {"web": LONG, "mobile": "m" * 32})


@pytest.mark.parametrize(
    ("secret", "value", "told"),
    [
        ("sshPrivateKey", "no key", "is not stored, and nothing is changed"),
        ("hostKeySecret", "short", "is not stored, and nothing is changed"),
        ("apiKey", "k", "is not stored, and nothing is changed"),
        ("apiKey", " \n", "nothing was given"),
        ("apiKey", "\udcff" * 32, "no UTF-8"),
        ("acmeAccount", "x", "made and read by one command alone\n  -> edge certificate prod"),
    ],
)
def test_what_the_program_would_refuse_is_not_stored_and_its_value_not_told(
    prod: Prod, secret: str, value: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        store_secret(deployed(prod), parsed_secret(secret, "prod"), value)
    assert prod.done == []


def test_a_certificate_is_judged_with_its_key_before_tls_is_on(prod: Prod) -> None:
    other, _ = new_certificate(certificate_names("other.dev"))
    fitting, key = new_certificate(certificate_names("llm.acme.dev"))
    prod.config = with_secrets(prod.config, {"edge-inference:tlsPrivateKey": key})
    for refused in ("no certificate", other):
        with pytest.raises(UsageError, match="tlsCertificate is not stored, and nothing is changed"):
            store_secret(deployed(prod), SecretName("tlsCertificate"), refused)
    store_secret(deployed(prod), SecretName("tlsCertificate"), fitting)
    assert prod.done == [("set", {"edge-inference:tlsCertificate": fitting})]


def test_problems_of_other_keys_do_not_keep_a_secret_from_being_stored(prod: Prod) -> None:
    prod.config = replace(prod.config, values={**prod.config.values, "edge-inference:protect": "maybe"})
    store_secret(deployed(prod), SecretName("sshPrivateKey"), key := new_deployer_key())
    assert prod.done == [("set", {"edge-inference:sshPrivateKey": key})]


def test_a_secret_is_taken_away(prod: Prod) -> None:
    with_keys(prod, web=LONG, mobile="m" * 32)
    remove_secret(deployed(prod), SecretName("apiKeys", "web"))
    with_keys(prod, web=LONG)
    remove_secret(deployed(prod), SecretName("apiKeys", "web"))
    remove_secret(deployed(prod), SecretName("huggingFaceToken"))
    assert prod.done == [
        ("unset", "edge-inference:apiKeys.web"),
        ("unset", "edge-inference:apiKeys"),  # the last of them
        ("unset", "edge-inference:huggingFaceToken"),
    ]


def test_one_of_those_that_were_stored_as_one_is_taken_away(prod: Prod) -> None:
    with_keys(prod, web=LONG, mobile="m" * 32)
    prod.stack_file.write_text(json.dumps({"config": {"edge-inference:apiKeys": {"secure": "v1:x"}}}))
    remove_secret(deployed(prod), SecretName("apiKeys", "web"))
    assert prod.done == [("set", {"edge-inference:apiKeys": json.dumps({"mobile": "m" * 32})})]


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("sshPrivateKey", "is needed by every deployment\n  -> edge secret set prod sshPrivateKey"),
        ("apiKey", "is not set\n  -> edge secret list prod"),
        ("apiKeys.web", "is not set"),
    ],
)
def test_what_is_not_taken_away(prod: Prod, secret: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        remove_secret(deployed(prod), parsed_secret(secret, "prod"))
    assert prod.done == []


def test_what_others_need_stays(prod: Prod) -> None:
    certificate, key = new_certificate(certificate_names("llm.acme.dev"))
    pair = {"edge-inference:tlsCertificate": certificate, "edge-inference:tlsPrivateKey": key}
    prod.config = with_secrets(stack_config("us-west-2a", endpoint={"tls": True}), pair)
    with pytest.raises(UsageError, match="tlsCertificate stays, since without it there would be"):
        remove_secret(deployed(prod), SecretName("tlsCertificate"))
    assert prod.done == []


def test_names_of_what_is_set_with_and_without_a_stack(prod: Prod) -> None:
    sealed = {"secure": "v1:x"}
    config = {"edge-inference:apiKeys": {"web": sealed, "mobile": sealed}, "edge-inference:sshPrivateKey": sealed}
    prod.stack_file.write_text(json.dumps({"config": config}))
    assert sorted(secret_names(deployed(prod))) == ["apiKeys.mobile", "apiKeys.web", "sshPrivateKey"]
    prod.is_there = False
    assert "sshPrivateKey" in secret_names(deployed(prod))


@pytest.mark.parametrize("text", ["", "no JSON", "[1]"])
def test_keys_that_are_none(text: str) -> None:
    assert api_keys(StackConfig("prod", {"edge-inference:apiKeys": text}, frozenset())) == {}
