"""`edge config`: judged with all the rest before it is written, comments and order kept; a secret never gets there."""

from pathlib import Path
from typing import Any

import pytest

from automation.engine import config_change
from automation.engine.config_change import entries, given_value, parsed, shown_path
from automation.environment import Environment
from automation.errors import EnvironmentBusyError, UsageError

TEXT = """\
# ours
config:
  aws:region: us-west-2
  edge-inference:sites: # where
    - zone: us-west-2a # Oregon
    - zone: us-west-2-lax-1a
  edge-inference:access:
    clientCidrs: [8.8.8.8/32]
    sshCidrs: [8.8.8.8/32]
  edge-inference:routing:
    domain: llm.acme.dev # its name
    hostedZone: acme.dev
  edge-inference:sshPrivateKey:
    secure: v1:a
  edge-inference:hostKeySecret:
    secure: v1:b
"""


@pytest.fixture
def dev(tmp_path: Path) -> Environment:
    (tmp_path / "Pulumi.dev.yaml").write_text(TEXT)
    return Environment("dev", stack_files=tmp_path, directory=tmp_path / "local")


def set_(environment: Environment, key: str, value: str) -> None:
    steps = parsed(key, environment.file_values(), environment.name)
    config_change.set_value(environment, steps, given_value(value, environment.arguments))


def unset(environment: Environment, key: str) -> None:
    config_change.unset_value(environment, parsed(key, environment.file_values(), environment.name))


def refused(environment: Environment, change: Any) -> str:
    """What is told of a change that is refused; the file is as it was."""
    before = environment.stack_file.read_bytes()
    with pytest.raises(UsageError) as raised:
        change()
    assert environment.stack_file.read_bytes() == before
    assert not [*environment.stack_file.parent.glob(".Pulumi.*")]
    return str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("server.model", "acme/small", "v1:b\n", "v1:b\n  edge-inference:server:\n    model: acme/small\n"),
        ("sites[us-west-2-lax-1a].replicas", "2", "lax-1a\n", "lax-1a\n      replicas: 2\n"),
        ("edge-inference:sites[0].optIn", "anyway", "# Oregon\n", "# Oregon\n      optIn: anyway\n"),
        ("access.clientCidrs", "[8.8.8.8/32, 9.9.9.9/32]", "clientCidrs: [8.8.8.8/32]", "clientCidrs: [8.8.8.8/32, 9.9.9.9/32]"),
        ("aws:region", "us-east-1", "aws:region: us-west-2", "aws:region: us-east-1"),
        ("routing.domain", "api.acme.dev", "llm.acme.dev # its name", "api.acme.dev # its name"),
    ],
)  # fmt: skip
def test_a_value_is_set_where_it_counts(dev: Environment, key: str, value: str, old: str, new: str) -> None:
    set_(dev, key, value)
    assert dev.stack_file.read_text() == TEXT.replace(old, new)


def test_a_bad_value_changes_nothing(dev: Environment) -> None:
    assert "is no whole number" in refused(dev, lambda: set_(dev, "sites[0].replicas", "two"))
    assert "no such key; did you mean replicas?" in refused(dev, lambda: set_(dev, "sites[0].replica", "2"))
    assert "does not lie in the hosted zone" in refused(dev, lambda: set_(dev, "routing.domain", "llm.other.dev"))
    assert "every site is drained" in refused(dev, lambda: set_(dev, "drained", "[us-west-2a, us-west-2-lax-1a]"))
    assert "tlsCertificate" in refused(dev, lambda: set_(dev, "endpoint.tls", "true"))
    assert "so that the next one is [2]" in refused(dev, lambda: set_(dev, "sites[5].zone", "us-west-2b"))
    assert "take the entry away" in refused(dev, lambda: unset(dev, "sites[0].zone"))
    assert "would bring" in refused(dev, lambda: unset(dev, "access"))
    assert "is not set" in refused(dev, lambda: unset(dev, "server.model"))


def test_what_is_wrong_can_be_mended_one_after_another(dev: Environment) -> None:
    dev.stack_file.write_text("config:\n  edge-inference:sites:\n    - zone: us-west-2a\n")
    set_(dev, "routing.domain", "llm.acme.dev")
    assert "does not lie in" in refused(dev, lambda: set_(dev, "routing", "{domain: llm.acme.dev, hostedZone: other.dev}"))
    set_(dev, "routing.hostedZone", "acme.dev")
    set_(dev, "access.sshCidrs[0]", "8.8.8.8/32")
    assert "documentation address" in refused(dev, lambda: set_(dev, "access.clientCidrs[0]", "192.0.2.1/32"))
    set_(dev, "access.clientCidrs[0]", "8.8.8.8/32")
    left = {each.path for each in dev.problems_in(config_change.look(dev.stack_file))}
    assert left == {"edge-inference:sshPrivateKey", "edge-inference:hostKeySecret"}


def test_a_wrong_value_is_not_replaced_by_another(dev: Environment) -> None:
    dev.stack_file.write_text(TEXT.replace("zone: us-west-2a", "zone: nowhere"))
    refused(dev, lambda: set_(dev, "sites[0].zone", "anywhere"))
    set_(dev, "sites[0].zone", "us-west-2b")


def test_secrets_are_refused_with_the_command_that_takes_them(dev: Environment) -> None:
    assert "-> edge secret set dev apiKeys.mobile" in refused(dev, lambda: set_(dev, "apiKeys.mobile", "x" * 20))
    assert "only the engine encrypts" in refused(dev, lambda: set_(dev, "tags.x", "{secure: abc}"))


def test_a_secret_in_clear_is_taken_away(dev: Environment) -> None:
    dev.stack_file.write_text(f"{TEXT}  edge-inference:apiKey: in-clear-in-clear\n")
    refused(dev, lambda: unset(dev, "sshPrivateKey"))
    config_change.unset_value(dev, parsed("apiKey", dev.file_values(), "dev", is_unset=True))
    assert dev.stack_file.read_text() == TEXT


def test_a_rehearsal_changes_the_same_file(tmp_path: Path, dev: Environment) -> None:
    """On the local cloud nothing needs a certificate of the owner's."""
    rehearsed = Environment("dev", on_local_cloud=True, stack_files=tmp_path, directory=tmp_path / "local")
    set_(rehearsed, "endpoint.tls", "true")
    assert dev.file_values()["edge-inference:endpoint"] == {"tls": True}


def test_while_a_run_is_at_work_nothing_is_changed(dev: Environment) -> None:
    from automation.engine.locks import only_run

    with only_run(dev.logs, "dev", "up"), pytest.raises(EnvironmentBusyError):
        set_(dev, "sites[0].replicas", "2")


def test_a_link_stays_one(dev: Environment, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.yaml"
    dev.stack_file.rename(real)
    dev.stack_file.symlink_to(real)
    set_(dev, "sites[0].replicas", "2")
    assert dev.stack_file.is_symlink()
    assert "replicas: 2" in real.read_text()


@pytest.mark.parametrize("value", ["", "  ", "null", "010", "2024-01-01", "[a", "a: b: c", "!foo x"])
def test_a_value_that_would_be_misread_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        given_value(value, "dev")


@pytest.mark.parametrize("key", ["", ".", "server.", "sites[", "sites[0", "sites[0]zone", "a b", "servr.model", "sites[nowhere]"])
def test_a_path_that_is_none_is_refused(dev: Environment, key: str) -> None:
    with pytest.raises(UsageError):
        parsed(key, dev.file_values(), "dev")


def test_everything_is_shown_by_the_path_that_sets_it(dev: Environment) -> None:
    values = dev.file_values()
    shown = {shown_path(steps): value for steps, value in entries(values)}
    assert shown["sites[1].zone"] == "us-west-2-lax-1a"
    assert shown["access.clientCidrs"] == ["8.8.8.8/32"]
    for steps, _ in entries(values):
        if str(steps[0]) not in {"edge-inference:sshPrivateKey", "edge-inference:hostKeySecret"}:
            assert parsed(shown_path(steps), values, "dev") == steps
