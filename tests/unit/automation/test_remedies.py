"""Every line that settings and preflight print after `->`, pasted into a fresh shell: afterwards the problem is gone.

The shell has nothing but the checkout's .venv/bin and the system's own commands on PATH. What a person must fill in is filled
in as a person would. A line that asks AWS itself is not run, since there is none here; its form is held against botocore's.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import botocore.session  # pyright: ignore[reportMissingTypeStubs]
import pytest

from automation.environment import Environment
from automation.paths import PROJECT_ROOT
from components.aws_facts import AwsFacts, HostedZoneFacts, InstanceTypeFacts, RegionFacts, ZoneFacts
from components.models import HubAnswer, known_facts
from components.preflight import judge
from components.problems import Problem
from components.remedies import for_environment
from components.settings import Validated, validate

FILLED_IN = {
    "A.B.C.D/32": "93.184.216.34/32",
    "A.B.C.0/24": "10.64.200.0/24",
    "YOUR.DOMAIN": "acme.dev",
    "llm.YOUR.DOMAIN": "llm.acme.dev",
    "ZONE": "us-west-2a",
    "NAME": "mobile",
}
SOUND = """\
config:
  aws:region: us-west-2
  edge-inference:sites: [{zone: us-west-2a}, {zone: us-west-2-lax-1a}]
  edge-inference:access: {clientCidrs: [8.8.8.8/32], sshCidrs: [8.8.8.8/32]}
  edge-inference:routing: {domain: llm.acme.dev, hostedZone: acme.dev}
  edge-inference:sshPrivateKey: {secure: v1:a}
  edge-inference:hostKeySecret: {secure: v1:b}
"""
WRONG: dict[str, tuple[str, dict[str, str]]] = {
    # What stands in the place of what, and what VALUE is to be.
    "access missing": ("  edge-inference:access: {clientCidrs: [8.8.8.8/32], sshCidrs: [8.8.8.8/32]}\n", {"": ""}),
    "documentation address": ("clientCidrs: [8.8.8.8/32]", {"": "clientCidrs: [192.0.2.1/32]"}),
    "open ssh": ("sshCidrs: [8.8.8.8/32]", {"": "sshCidrs: [0.0.0.0/0]"}),
    "no sites": ("[{zone: us-west-2a}, {zone: us-west-2-lax-1a}]", {"": "[]"}),
    "twice": ("{zone: us-west-2-lax-1a}", {"": "{zone: us-west-2a}"}),
    "misspelt key": ("{zone: us-west-2a}", {"": "{zone: us-west-2a, replica: 2}"}),
    "no number": ("{zone: us-west-2a}", {"": "{zone: us-west-2a, replicas: two}", "VALUE": "2"}),
    "zone": ("{zone: us-west-2a}", {"": "{zone: nowhere}", "VALUE": "us-west-2b"}),
    "subnet": ("{zone: us-west-2a}", {"": "{zone: us-west-2a, subnetCidr: 11.0.0.0/24}"}),
    "names missing": ("{domain: llm.acme.dev, hostedZone: acme.dev}", {"": "{policy: latency}"}),
    "another zone's name": ("hostedZone: acme.dev", {"": "hostedZone: other.dev", "llm.YOUR.DOMAIN": "llm.other.dev"}),
    "two zones": ("hostedZone: acme.dev", {"": "hostedZone: acme.dev, hostedZoneId: Z1"}),
    "example domain": ("domain: llm.acme.dev", {"": "domain: llm.example.com"}),
    "no table": ("hostedZone: acme.dev", {"": "hostedZone: acme.dev, policy: geolocation"}),
    "table": ("hostedZone: acme.dev", {"": "hostedZone: acme.dev, geolocation: {default: us-west-2b}"}),
    "country": (
        "hostedZone: acme.dev",
        {"": "hostedZone: acme.dev, geolocation: {default: us-west-2a, countries: {UK: us-west-2a}}"},
    ),
    "bias": ("hostedZone: acme.dev", {"": "hostedZone: acme.dev, bias: {us-west-2-hnl-1: 5}"}),
    "drained": ("  aws:region", {"": "  edge-inference:drained: [us-west-2b]\n  aws:region"}),
    "all drained": ("  aws:region", {"": "  edge-inference:drained: [us-west-2a, us-west-2-lax-1a]\n  aws:region"}),
    "tags": ("  aws:region", {"": "  edge-inference:tags: {cost: 5}\n  aws:region"}),
    "many tags": ("  aws:region", {"": f"  edge-inference:tags: {{{', '.join(f't{n}: x' for n in range(8))}}}\n  aws:region"}),
    "tag's key": ("  aws:region", {"": '  edge-inference:tags: {"aws:x": y}\n  aws:region'}),
    "tokens": ("  aws:region", {"": "  edge-inference:server: {maxInputTokens: 8192}\n  aws:region"}),
    "protect": ("  aws:region", {"": "  edge-inference:protect: 5\n  aws:region"}),
    "unknown key": ("  aws:region", {"": "  edge-inference:servr: {}\n  aws:region"}),
    "namespace": ("  aws:region", {"": "  edge-infrence:server: {}\n  aws:region"}),
    "region": ("us-west-2\n", {"": "oregon\n"}),
    "tls without names": (
        "{domain: llm.acme.dev, hostedZone: acme.dev}",
        {"": "{policy: none}\n  edge-inference:endpoint: {tls: true}"},
    ),
    "secret in clear": ("{secure: v1:a}", {"": "in-clear"}),
    "keys in clear": ("  aws:region", {"": "  edge-inference:apiKey: in-clear-in-clear\n  aws:region"}),
    "share": ("  aws:region", {"": "  edge-inference:rollout: {maxAway: 0%}\n  aws:region", "VALUE": "1"}),
    "engine": ("  aws:region", {"": "  edge-inference:server: {engine: ollama}\n  aws:region", "VALUE": "vllm"}),
    "port": ("  aws:region", {"": "  edge-inference:endpoint: {port: 22}\n  aws:region", "VALUE": "8080"}),
    "vpc": ("  aws:region", {"": "  edge-inference:network: {vpcCidr: 8.0.0.0/16}\n  aws:region", "VALUE": "10.0.0.0/16"}),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `edge` needs, with a .venv/bin whose `edge` runs that copy."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("automation", "components", "geography", "localcloud", "ttft", "tools"):
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Pulumi.yaml", "requirements.txt"):
        shutil.copy(PROJECT_ROOT / name, folder / name)
    edge = folder / ".venv" / "bin" / "edge"
    edge.parent.mkdir(parents=True)
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); from automation.cli import main; main()"
    edge.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)} "$@"\n')
    edge.chmod(0o755)
    return folder


def paste(checkout: Path, line: str) -> subprocess.CompletedProcess[str]:
    """What a fresh shell makes of a line."""
    variables = {"PATH": f"{checkout / '.venv' / 'bin'}:/usr/bin:/bin", "HOME": str(checkout), "LANG": "C.UTF-8"}
    return subprocess.run(
        ["bash", "-c", line], cwd=checkout, env=variables, input="", capture_output=True, text=True, check=False
    )


def filled_in(line: str, more: dict[str, str]) -> str:
    """A line with what its reader must know."""
    for mark, value in sorted({**FILLED_IN, **more}.items(), key=lambda each: -len(each[0])):
        line = re.sub(rf"(?<![\w.]){re.escape(mark)}(?!\w)", value, line) if mark else line
    return line


@pytest.mark.parametrize("name", WRONG)
def test_each_line_of_the_settings_mends_what_it_stands_below(checkout: Path, name: str) -> None:
    old, change = WRONG[name]
    file = checkout / f"Pulumi.{re.sub(r'[^a-z]', '-', name)}.yaml"
    file.write_text(SOUND.replace(old, change[""]))
    assert file.read_text() != SOUND
    env = file.name.removeprefix("Pulumi.").removesuffix(".yaml")
    environment = Environment(env, stack_files=checkout, directory=checkout / "local")
    while problems := validate(environment.file_config()).problems:
        problem = problems[0].told_to(env)
        # All lines of a rule that names several things, else the first: the others are other ways.
        lines = problem.fix.splitlines() if problem.value is None or "tags" in problem.path else problem.fix.splitlines()[:1]
        for line in lines:
            assert "pulumi" not in line
            done = paste(checkout, filled_in(line, change))
            assert done.returncode == 0, f"{problem}\n$ {line}\n{done.stdout}{done.stderr}"
        left = validate(environment.file_config()).problems
        assert (problem.path, problem.reason) not in {(each.path, each.reason) for each in left}, f"{problem}\n{file.read_text()}"
        if all("secret set" in each.fix or "edge keys" in each.fix for each in left):
            break  # These need an engine and a place for the state: tests/engine.


@dataclass(frozen=True)
class Case:
    """A config about which AWS, or the model's size, says something; which of the lines is pasted."""

    old: str
    new: str
    line: int = 0
    filled: dict[str, str] = field(default_factory=dict[str, str])


TWO, ZONES, A_SITE = "{zone: us-west-2-lax-1a}", "[{zone: us-west-2a}, {zone: us-west-2-lax-1a}]", "{zone: us-west-2a}"
NAMES, TOP = "{domain: llm.acme.dev, hostedZone: acme.dev}", "  aws:region"
AMI = "ami-0feedfeedfeedfeed"
PREFLIGHT = {
    "no such zone": Case(A_SITE, "{zone: us-west-2z}"),
    "not opted in": Case(TWO, "{zone: us-west-2-den-1a}", line=1),
    "an offer that nobody knows": Case(TWO, "{zone: us-west-2-las-1a, optIn: true}"),
    "no such type": Case(A_SITE, "{zone: us-west-2a, instanceType: g9.huge}"),
    "no GPU": Case(A_SITE, "{zone: us-west-2a, instanceType: m5.large}"),
    "another processor": Case(A_SITE, "{zone: us-west-2a, instanceType: g5g.xlarge}"),
    "another GPU": Case(A_SITE, "{zone: us-west-2a, instanceType: g4ad.xlarge}"),
    "not offered": Case(TWO, "{zone: us-west-2-lax-1a, instanceType: g5.2xlarge}"),
    "a second type": Case(A_SITE, "{zone: us-west-2a, instanceTypes: [g4dn.2xlarge, m5.large]}"),
    "no such AMI": Case(
        TOP, f"  edge-inference:host: {{amis: {{us-west-2: ami-00000000000000000}}}}\n{TOP}", filled={"AMI": AMI}
    ),
    "no hosted zone of the name": Case(NAMES, "{domain: llm.nowhere.dev, hostedZone: nowhere.dev}"),
    "no hosted zone with the id": Case(NAMES, "{domain: llm.acme.dev, hostedZoneId: Z0}", filled={"ZONE_ID": "ZGOOD"}),
    "a private zone": Case(NAMES, "{domain: llm.acme.dev, hostedZoneId: ZPRIVATE}", filled={"ZONE_ID": "ZGOOD"}),
    "a zone of another name": Case(NAMES, "{domain: llm.other.org, hostedZoneId: ZGOOD}"),
    "a second zone of the name": Case("hostedZone: acme.dev", "hostedZone: acme.dev, createHostedZone: true"),
    "somebody's records": Case("domain: llm.acme.dev", "domain: taken.acme.dev", filled={"A-NAME-OF-ITS-OWN": "llm.acme.dev"}),
    "no health checkers": Case(NAMES, "{domain: llm.acme.dev, hostedZone: acme.dev, policy: latency}"),
    "a model that is too large": Case(TOP, f"  edge-inference:server: {{model: meta-llama/Llama-3.1-8B-Instruct}}\n{TOP}"),
    "too many tokens": Case(TOP, f"  edge-inference:server: {{maxInputTokens: 90000, maxTotalTokens: 100000}}\n{TOP}"),
    "an engine that does not know the model": Case(TOP, f"  edge-inference:server: {{model: Qwen/Qwen3.5-4B}}\n{TOP}"),
    "a type of numbers that the GPU has not": Case(
        TOP,
        f"  edge-inference:server: {{engine: vllm, model: Qwen/Qwen3-1.7B, extraArguments: [--dtype, bfloat16]}}\n{TOP}",
    ),
}
NOT_PASTED = {
    "aws service-quotas request-service-quota-increase": "AWS decides about it, within hours or days",
    "aws sts get-caller-identity": "shows who asks; the permission is given by whoever may",
    "aws ec2 describe-instance-type-offerings": "lists what is offered; the line above it changes the type",
    "aws ec2 modify-availability-zone-group": "for good in an account; its form is held below",
}
"""Lines of preflight that do not mend by themselves what they stand below, or not here."""


def said(validated: Validated, name: str) -> AwsFacts:
    """What AWS says of a config: of all cases the same, but for what has none of its own words in a config."""
    t4 = InstanceTypeFacts(8, 1, 16384, "T4", frozenset({"x86_64"}))
    everywhere = frozenset({"us-west-2a", "us-west-2-lax-1a", "us-west-2-den-1a"})
    pinned = validated.host.amis.get("us-west-2") if validated.host else None
    region = RegionFacts(
        {
            "us-west-2a": ZoneFacts("us-west-2", "us-west-2", is_local=False, opted_in=True),
            "us-west-2-lax-1a": ZoneFacts("us-west-2-lax-1", "us-west-2-lax-1", is_local=True, opted_in=True),
            "us-west-2-den-1a": ZoneFacts("us-west-2-den-1", "us-west-2-den-1", is_local=True, opted_in=False),
            "us-west-2-las-1a": ZoneFacts("us-west-2-las-1", "us-west-2-las-1", is_local=True, opted_in=False),
        },
        types={
            "g4dn.2xlarge": t4,
            "g5.2xlarge": InstanceTypeFacts(8, 1, 24576, "A10G", frozenset({"x86_64"})),
            "m5.large": InstanceTypeFacts(2, 0, 0),
            "g5g.xlarge": InstanceTypeFacts(4, 1, 16384, "T4g", frozenset({"arm64"})),
            "g4ad.xlarge": InstanceTypeFacts(4, 1, 8192, "Radeon Pro V520", frozenset({"x86_64"})),
            "g9.huge": None,
        },
        offered={"g4dn.2xlarge": everywhere, "g5.2xlarge": frozenset({"us-west-2a"})},
        silent_zones=frozenset({"us-west-2-las-1a"}),
        health_checkers=None if name == "no health checkers" else "pl-1",
        ami=AMI if pinned in {None, AMI} else None,
    )
    zones = {
        "acme.dev": HostedZoneFacts("ZGOOD", "acme.dev"),
        "ZPRIVATE": HostedZoneFacts("ZPRIVATE", "acme.dev", is_private=True),
    }
    routing = validated.routing
    assert routing
    zone = {**zones, "ZGOOD": zones["acme.dev"]}.get(str(routing.hosted_zone or routing.hosted_zone_id))
    foreign = ("CNAME",) if routing.domain == "taken.acme.dev" else ()
    return AwsFacts({"us-west-2": region}, zone, None if zone else "AWS has none", foreign)


@pytest.mark.parametrize("name", PREFLIGHT)
def test_each_line_of_preflight_mends_what_it_stands_below(checkout: Path, name: str) -> None:
    case = PREFLIGHT[name]
    env = re.sub(r"[^a-z]", "-", f"preflight {name.lower()}")
    file = checkout / f"Pulumi.{env}.yaml"
    file.write_text(SOUND.replace(case.old, case.new))
    assert file.read_text() != SOUND
    environment = Environment(env, stack_files=checkout, directory=checkout / "local")

    def problems() -> list[Problem]:
        validated = validate(environment.file_config())
        assert not validated.problems
        assert validated.server
        model = known_facts(validated.server, HubAnswer(None, "nobody asks it here"))
        return judge(validated, said(validated, name), model)

    problem, *_ = (each.told_to(env) for each in problems())
    line = problem.fix.splitlines()[case.line]
    done = paste(checkout, filled_in(line, {**case.filled, "VALUE": ""} if case.filled else {}))
    assert done.returncode == 0, f"{problem}\n$ {line}\n{done.stdout}{done.stderr}"
    assert (problem.path, problem.reason) not in {(each.path, each.reason) for each in problems()}, (
        f"{problem}\n{file.read_text()}"
    )


def test_what_is_not_pasted_has_a_reason(preflight_problems: Sequence[str]) -> None:
    commands = {
        line.partition("   #")[0] for fix in preflight_problems for line in fix.splitlines() if not line.startswith("edge ")
    }
    assert commands
    assert not [command for command in commands if not command.startswith(tuple(NOT_PASTED))]


def test_lines_for_aws_have_a_form_that_aws_takes(preflight_problems: Sequence[str]) -> None:
    """Quotas, opt-ins and lists of offers need an account: operation, parameters and required ones are asked of botocore."""
    session: Any = cast("Any", botocore.session).get_session()
    asked = {line.partition("   #")[0] for fix in preflight_problems for line in fix.splitlines() if line.startswith("aws ")}
    assert len(asked) >= 4
    for line in asked:
        _, service, operation, *options = shlex.split(line)
        if service == "sts":
            continue
        model = session.get_service_model(service)
        found = model.operation_model("".join(part.title() for part in operation.split("-")))
        names = {re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() for name in found.input_shape.members}
        given = {word.removeprefix("--") for word in options if word.startswith("--")} - {"region"}
        assert given <= names, line


def test_on_the_local_cloud_the_line_goes_there() -> None:
    """Pasted in an ordinary shell it would opt the real account in, for good."""
    fix = "aws ec2 modify-availability-zone-group --region x   # for good\nedge config ENV 'sites[0].optIn' true"
    assert for_environment(fix, "prod") == fix.replace("ENV", "prod")
    assert for_environment(fix, "prod --local").splitlines() == [
        '( eval "$(edge env local --stack prod)"; aws ec2 modify-availability-zone-group --region x )   # for good',
        "edge config prod --local 'sites[0].optIn' true",
    ]
    assert '--stack local)"; aws' in for_environment(fix, "local")


@pytest.fixture
def preflight_problems() -> Sequence[str]:
    """The lines of preflight, of a config about which AWS says the worst."""
    from dataclasses import replace

    from checked_settings import stack_config

    from components.models import ModelFacts

    validated: Validated = validate(stack_config("us-west-2a", "us-west-2-lax-1a", "us-west-2-hnl-1a"))
    known = InstanceTypeFacts(8, 1, 16384)
    facts = RegionFacts(
        {
            "us-west-2a": ZoneFacts("us-west-2", "us-west-2", is_local=False, opted_in=True),
            "us-west-2-lax-1a": ZoneFacts("us-west-2-lax-1", "us-west-2-lax-1", is_local=True, opted_in=False),
            "us-west-2-hnl-1a": ZoneFacts("us-west-2-hnl-1", "us-west-2-hnl-1", is_local=True, opted_in=True),
        }
    )
    facts = replace(facts, types={"g4dn.2xlarge": known}, offered={"g4dn.2xlarge": frozenset({"us-west-2a"})}, vcpu_quota=0.0)
    facts = replace(facts, address_quota=0.0, rules_per_group=1.0)
    found = judge(validated, AwsFacts({"us-west-2": facts}), ModelFacts(None, None, None, ""))
    return [problem.fix for problem in found]
