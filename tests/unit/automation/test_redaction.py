"""Secrets are kept out of what a run writes and tells; what only looks like one stays readable."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.account.keys import new_deployer_key
from automation.engine.redaction import REDACTED, Redactor, config_secrets, environment_secrets
from automation.engine.run_log import RunLog

TOKEN = "hf_" + "q7" * 12


def test_a_secret_is_replaced_wherever_it_stands() -> None:
    assert Redactor([TOKEN])(f"a {TOKEN}, b={TOKEN}c") == f"a {REDACTED}, b={REDACTED}c"


def test_the_longest_goes_first() -> None:
    """Else the tail of the longer one would stay."""
    assert Redactor([TOKEN, f"{TOKEN}-and-more"])(f"{TOKEN}-and-more") == REDACTED


@pytest.mark.parametrize("short", ["", " ", "1234567", "a\nb"])
def test_values_that_are_no_secrets_worth_the_name_stay(short: str) -> None:
    assert Redactor([short])("a b 1234567") == "a b 1234567"


def test_a_commit_stays_readable() -> None:
    commit = "0cb88a4f764b7a12671c53f0838cd831a0843b95"
    assert Redactor([TOKEN, "f" * 64])(f"serves at {commit}") == f"serves at {commit}"


def test_a_key_of_several_lines_goes_line_by_line_and_in_quotes() -> None:
    key = new_deployer_key()
    redact = Redactor([key])
    lines = key.splitlines()
    for line in lines[1:-1]:
        if len(line) >= 8:
            assert redact(f"x {line}") == f"x {REDACTED}"
    quoted = key.strip().replace("\n", "\\n")
    assert not any(line in redact(f'"{quoted}"') for line in lines[1:-1])
    assert redact(lines[0]) == lines[0]


@given(secret=st.text(st.characters(exclude_categories=["Cs"]), min_size=8), before=st.text(), after=st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    if len(secret.strip()) >= 8 and secret.strip() not in REDACTED and not secret.strip().startswith("-----"):
        assert secret.strip() not in Redactor([secret])(before + secret + after).replace(REDACTED, "")


def test_secrets_of_the_config_nested_ones_too() -> None:
    config = {
        "a:plain": {"value": "plain-value", "secret": False},
        "a:token": {"value": TOKEN, "secret": True},
        "a:map": {"value": "{}", "objectValue": {"one": "secret-one", "more": ["secret-two", 3]}, "secret": True},
    }
    assert list(config_secrets(config)) == [TOKEN, "secret-one", "secret-two"]


def test_secrets_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abcdefghijkl")
    assert "abcdefghijkl" in set(environment_secrets())


def test_a_log_is_redacted_private_and_named_after_its_run(tmp_path: Path) -> None:
    with RunLog(tmp_path / "logs", "prod", "up", Redactor([TOKEN])) as log:
        log.write(f"token {TOKEN}\nsecond line")
    text = log.path.read_text()
    assert TOKEN not in text
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == [f"token {REDACTED}", "second line"]
    assert log.path.stat().st_mode & 0o077 == 0
    assert log.path.name.startswith("prod-up-20")


def test_a_line_that_comes_after_the_end_is_dropped(tmp_path: Path) -> None:
    with RunLog(tmp_path, "prod", "up", Redactor([])) as log:
        log.write("a")
    log.write("b")
    assert log.path.read_text().endswith("a\n")


def test_the_newest_logs_are_kept_and_other_environments_left_alone(tmp_path: Path) -> None:
    (tmp_path / "prod-eu-up-x.log").touch()
    for _ in range(55):
        with RunLog(tmp_path, "prod", "up", Redactor([])):
            pass
    assert len(list(tmp_path.glob("prod-up-*.log"))) == 50
    assert (tmp_path / "prod-eu-up-x.log").exists()
