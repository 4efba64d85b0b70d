"""The way from the engine's config to a checked one: read, validate, ask Hub and AWS, and only then let resources be made.

The only module that turns problems into the program's end. Leaves out judging: settings/, models.py and preflight.py do.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from typing import NoReturn

import pulumi

from components.aws_facts import AwsFacts
from components.gpu_memory import with_limits
from components.model_support import support_unknowns
from components.models import (
    HubAnswer,
    ModelFacts,
    ask_hub,
    known_facts,
    model_problems,
    token_problem,
    unknowns,
)
from components.preflight import gpus_in_use, judge, smallest_gpu_mib, warnings
from components.problems import ConfigurationError, Problem
from components.provider_lookups import AwsSilentError, ask_aws
from components.release import newer_release_problem
from components.remedies import arguments_of
from components.rollout import MODE_VARIABLE, Before, Mode, before
from components.settings import PROJECT, ServerSettings, Settings, StackConfig, Validated, validate
from components.ssh_agent import agent_problem

_MESSAGE_WAS_SHOWN = 32
"""The exit status by which a program tells Pulumi's language host that the person has been told (its exec script)."""


@dataclass(frozen=True)
class CheckedConfig:
    """A stack's settings, which AWS and the Hub have nothing against, and what they said."""

    settings: Settings
    aws: AwsFacts
    model: ModelFacts
    before: Before = field(default_factory=Before)
    """The replicas that have served before this run (rollout.py)."""
    mode: Mode = Mode.PLAIN


def checked_config() -> CheckedConfig:
    """The running stack's config; ends the program with one error (no traceback) that lists everything that is wrong."""
    if problem := newer_release_problem():
        _end(problem)
    stack = pulumi.get_stack()
    validated = validate(
        StackConfig(
            stack,
            pulumi.runtime.get_config_env(),
            frozenset(pulumi.runtime.get_config_secret_keys_env()),
        )
    )
    try:
        return _check(validated)
    except ConfigurationError as error:
        _end(str(error))
    except AwsSilentError as error:
        problems = "\n".join(f"  {problem.told_to(_arguments(stack))}" for problem in validated.problems)
        _end(
            f"AWS does not answer, so nothing can be checked or made: {error}\n"
            "  -> aws sts get-caller-identity   # credentials; on the local cloud: edge cloud start"
            + (f"\nBesides, the configuration of stack '{stack}' has problems:\n{problems}" if problems else "")
        )


def _arguments(stack: str) -> str:
    """How `edge` is told of the running stack, which is on the local cloud where AWS's endpoint is."""
    return arguments_of(stack, is_local=bool(os.environ.get("AWS_ENDPOINT_URL")))


def _end(message: str) -> NoReturn:
    """Ends the program with a message: no traceback, and no second error of the engine about an exit code."""
    pulumi.log.error(message)
    sys.exit(_MESSAGE_WAS_SHOWN)


def _check(validated: Validated) -> CheckedConfig:
    facts = ask_aws(validated)
    server, token = validated.server, validated.hugging_face_token
    problems = [*validated.problems, *filter(None, [agent_problem()])]
    hub, model = HubAnswer(None, "not asked"), ModelFacts(None, None, None, "")
    if server:
        hub = _hub(server, token.get_secret_value() if token else None)
        model = known_facts(server, hub)
        problems += model_problems(server, model, has_token=token is not None)
        if model.gated and token:
            problems += _token_problems(server, token.get_secret_value())
    problems += judge(validated, facts, model)
    if problems:
        raise ConfigurationError(validated.stack, problems, _arguments(validated.stack))
    settings = validated.require(validated.stack)
    untold = support_unknowns(settings.server, model, gpus_in_use(settings, facts))
    for warning in (*warnings(settings, facts), *unknowns(settings.server, model, hub), *untold):
        pulumi.log.warn(warning)
    limited = with_limits(settings.server, model, smallest_gpu_mib(settings, facts))
    return CheckedConfig(replace(settings, server=limited), facts, model, before(), Mode(os.environ.get(MODE_VARIABLE, "")))


def _token_problems(server: ServerSettings, token: str) -> list[Problem]:
    problem, silence = token_problem(server.model, token.strip())
    if silence:
        pulumi.log.info(f"{silence}; whether huggingFaceToken opens {server.model} shows when a host fetches the weights")
    return [problem] if problem else []


def _hub(server: ServerSettings, token: str | None) -> HubAnswer:
    if server.model_parameters is not None and server.model_gated is not None:
        return HubAnswer(None, f"{PROJECT}:server settles it")
    hub = ask_hub(server.model, token)
    if hub.silence:
        pulumi.log.info(f"{hub.silence}; what the built-in table knows of {server.model} is used instead")
    return hub
