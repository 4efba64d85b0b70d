"""The program's way to a checked config, and its end where there is none: one message, no traceback."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
from component_helpers import TOKEN, aws_facts, settings, sites, stack_config

from components import stack_config as program
from components.aws_facts import AwsFacts, InstanceTypeFacts
from components.models import HubAnswer
from components.problems import Problem
from components.provider_lookups import AwsSilentError
from components.rollout import Before
from components.settings import StackConfig

SILENT_HUB = HubAnswer(None, "the Hugging Face Hub cannot be reached (ConnectTimeout)")


class Program:
    """Runs `checked_config` over a config and what AWS and the Hub say; keeps what it tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        self.asked_with: list[str | None] = []
        self.newer_release: str | None = None
        self.told: dict[str, list[str]] = {"error": [], "warn": [], "info": []}
        for kind, texts in self.told.items():
            monkeypatch.setattr(pulumi.log, kind, texts.append)
        self.hub = SILENT_HUB
        self.token: tuple[Problem | None, str | None] = (None, None)
        self.tried_tokens: list[str] = []
        self.aws: Callable[[], AwsFacts] | None = None

    def run(self, config: StackConfig, **facts: Any) -> program.CheckedConfig:
        self._monkeypatch.setattr(pulumi, "get_stack", lambda: config.stack)
        self._monkeypatch.setattr(pulumi.runtime, "get_config_env", lambda: dict(config.values))
        self._monkeypatch.setattr(pulumi.runtime, "get_config_secret_keys_env", lambda: list(config.secret_keys))
        self._answer = self.aws or (lambda: aws_facts(settings(), **facts))
        self._monkeypatch.setattr(program, "newer_release_problem", lambda: self.newer_release)
        self._monkeypatch.setattr(program, "before", lambda: Before(frozenset({"us-west-2a-1"})))
        self._monkeypatch.setattr(program, "ask_aws", self._ask_aws)
        self._monkeypatch.setattr(program, "ask_hub", self._ask_hub)
        self._monkeypatch.setattr(program, "token_problem", self._try_token)
        return program.checked_config()

    def _ask_aws(self, validated: object) -> AwsFacts:
        del validated
        return self._answer()

    def _ask_hub(self, model: str, token: str | None) -> HubAnswer:
        del model
        self.asked_with.append(token)
        return self.hub

    def _try_token(self, model: str, token: str) -> tuple[Problem | None, str | None]:
        self.tried_tokens.append(f"{model} {token}")
        return self.token

    def error(self, config: StackConfig, **facts: Any) -> str:
        """The one error of a config that is refused."""
        with pytest.raises(SystemExit) as ended:
            self.run(config, **facts)
        assert ended.value.code == 32, "the language host then adds no traceback"
        (text,) = self.told["error"]
        return text


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


def test_good_config_goes_through(started: Program) -> None:
    checked = started.run(stack_config())
    assert checked.settings == settings()
    assert checked.model.revision, "pinned by the built-in table"
    assert started.told["error"] == started.told["warn"] == []


def test_a_newer_releases_state_ends_the_program_before_anything_is_asked(started: Program) -> None:
    started.newer_release = "written by a newer release"
    assert started.error(stack_config()) == "written by a newer release"
    assert started.asked_with == []


def test_silent_hub_is_told_in_a_word(started: Program) -> None:
    started.run(stack_config())
    (info,) = started.told["info"]
    assert "ConnectTimeout" in info
    assert "built-in table" in info


def test_unknowns_are_warned_about(started: Program) -> None:
    started.run(stack_config(server={"model": "org/model"}))
    named = ("modelParameters", "maxTotalTokens", "modelGated", "revision", "TGI 2.4.0")
    for key, warning in zip(named, started.told["warn"], strict=True):
        assert key in warning


def test_hub_is_not_asked_where_the_config_says_all(started: Program) -> None:
    started.run(stack_config(server={"modelParameters": 10**9, "modelGated": False}))
    assert not started.asked_with


def test_token_is_tried_on_a_gated_model_only(started: Program) -> None:
    started.run(stack_config())
    assert started.tried_tokens == [f"meta-llama/Llama-3.2-3B-Instruct {TOKEN}"]
    started.tried_tokens.clear()
    started.run(stack_config(server={"modelParameters": 10**9, "modelGated": False}))
    started.error(stack_config(without=("huggingFaceToken",)))
    assert started.tried_tokens == []


def test_token_that_the_hub_refuses_ends_the_program(started: Program) -> None:
    started.token = (Problem("edge-inference:huggingFaceToken", None, "opens nothing", "accept the licence"), None)
    text = started.error(stack_config())
    assert "opens nothing" in text
    assert TOKEN not in text


def test_token_that_nobody_could_try_is_told_in_a_word(started: Program) -> None:
    started.token = (None, "the Hub is down")
    started.run(stack_config())
    assert any("the Hub is down; whether huggingFaceToken opens" in told for told in started.told["info"])


def test_token_that_no_header_can_carry_is_refused_before_the_hub_is_asked_with_it(started: Program) -> None:
    config = stack_config()
    values = {**config.values, "edge-inference:huggingFaceToken": f"\N{LEFT DOUBLE QUOTATION MARK}{TOKEN}"}
    text = started.error(replace(config, values=values))
    assert "edge-inference:huggingFaceToken\n    is no token: its character 1 is LEFT DOUBLE QUOTATION MARK" in text
    assert TOKEN not in text
    assert started.asked_with == [None]
    assert started.tried_tokens == []


def test_agent_that_is_gone_is_a_problem_and_none_or_one_that_listens_is_not(
    started: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without it every step fails, `dial unix ...`, on hosts that cost already."""
    path = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen()
        for named in (str(path), ""):
            monkeypatch.setenv("SSH_AUTH_SOCK", named)
            started.run(stack_config())
    path.unlink()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    text = started.error(stack_config())
    assert f"1. SSH_AUTH_SOCK = {path}\n    no such file or directory: " in text
    assert "-> unset SSH_AUTH_SOCK" in text


def test_limits_shrink_to_the_smallest_gpu(started: Program) -> None:
    checked = started.run(stack_config(), types={"g4dn.2xlarge": InstanceTypeFacts(vcpus=8, gpus=1, gpu_mib=10_000)})
    assert 0 < checked.settings.server.max_total_tokens < settings().server.max_total_tokens


def test_limits_that_do_not_fit_are_a_problem(started: Program) -> None:
    assert "KiB a token" in started.error(stack_config(server={"maxTotalTokens": 100_000}))


def test_all_kinds_of_problems_in_one_error(started: Program) -> None:
    """The config's own, AWS's and the model's together."""
    text = started.error(stack_config(without=("huggingFaceToken",)), vcpu_quota=0.0, ami=None)
    assert text.startswith("3 problems in the configuration of stack 'dev'; nothing was changed.")
    for word in ("huggingFaceToken", "L-DB2E81BA", "host.amis.us-west-2"):
        assert word in text


def test_broken_config_is_still_shown_to_aws(started: Program) -> None:
    text = started.error(stack_config(without=("access",)), zones={})
    for word in ("access.clientCidrs", "access.sshCidrs", "sites[0].zone", "sites[1].zone"):
        assert word in text


def test_aws_that_does_not_answer(started: Program) -> None:
    def silent() -> AwsFacts:
        raise AwsSilentError("no credentials")

    started.aws = silent
    text = started.error(stack_config(sites=[]))
    assert "no credentials" in text
    assert "aws sts get-caller-identity" in text
    assert "edge-inference:sites" in text, "what is wrong with the config is told too"


def test_no_traceback_words(started: Program) -> None:
    text = started.error(stack_config(sites=sites("nowhere"), server="x"))
    assert "Traceback" not in text
    assert "ValidationError" not in text
    assert "pydantic" not in text
