"""What is said where a host was not reached, by the texts that pulumi-command 1.2.1 gives (each was seen from it)."""

import pytest

from automation.engine.advice import Commands, after_failure
from automation.engine.causes import by_cause

ON_AWS, REHEARSAL = Commands("prod", is_rehearsal=False), Commands("prod", is_rehearsal=True)
HANDSHAKE = "after 129 failed attempts: ssh: handshake failed: "
CAUSES = {
    f"{HANDSHAKE}ssh: host key mismatch": "somebody changed it on the host",
    f"{HANDSHAKE}ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain": "host.loginUser",
    f"{HANDSHAKE}EOF": "edge up prod   # once more",
    f"{HANDSHAKE}read tcp 10.0.0.1:42510->100.64.0.1:22: read: connection reset by peer": "edge up prod   # once more",
    "after 129 failed attempts: dial tcp 100.64.0.1:22: connect: connection refused": "host.connectBudgetSeconds",
    "after 129 failed attempts: dial tcp 100.64.0.1:22: i/o timeout": "access.sshCidrs",
    "after 129 failed attempts: dial tcp 100.64.0.1:22: connect: no route to host": "access.sshCidrs",
    "dial unix /tmp/ssh-x/agent.123: connect: no such file or directory": "unset SSH_AUTH_SOCK",
    "after 129 failed attempts: ssh: something new": "edge doctor prod",
}


def advice(*errors: str, commands: Commands = ON_AWS) -> list[str]:
    told = [f"us-west-2a-{number}-scripts: {error}" for number, error in enumerate(errors, 1)]
    texts = after_failure(commands, "", told, has_changed=False)
    causes = by_cause(told)
    assert texts[: len(causes)] == causes
    return texts[len(causes) :]


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_advice_of_its_own(cause: str) -> None:
    (told,) = advice(cause)
    assert CAUSES[cause] in told
    others = set(CAUSES.values()) - {CAUSES[cause]}
    assert not any(other in told for other in others)


def test_each_cause_is_told_once() -> None:
    first, second, *_ = CAUSES
    assert len(advice(first, second, first)) == 2


def test_what_fails_on_a_host_is_no_dial() -> None:
    assert advice('Process exited with status 1: running "curl":\nconnection refused\nEOF') == []


def test_on_the_local_cloud_no_line_acts_on_aws() -> None:
    (told,) = advice(next(iter(CAUSES)), commands=REHEARSAL)
    assert "edge destroy prod --local, then edge up prod --local" in told
    assert "pulumi" not in told
