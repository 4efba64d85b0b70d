"""What AWS would refuse: each problem, its absence, and what becomes of questions that AWS leaves open."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from component_helpers import G4DN, MODEL, ZONE, aws_facts, settings, sites, stack_config, zone_facts

from components.aws_facts import AwsFacts, HostedZoneFacts, InstanceTypeFacts
from components.models import HubAnswer, ModelFacts, known_facts
from components.preflight import crowded, judge, warnings
from components.problems import Problem
from components.settings import PROJECT, ServerSettings, validate

NO_GPU = InstanceTypeFacts(vcpus=2, gpus=0, gpu_mib=0)
LAX = "us-west-2-lax-1a"


def judged(facts: Mapping[str, Any] | None = None, model: ModelFacts = MODEL, **sections: Any) -> list[Problem]:
    """What is judged wrong with a good config, where AWS says `facts` of each Region."""
    config = validate(stack_config(**sections))
    return judge(config, aws_facts(config.require("dev"), **(facts or {})), model)


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_nothing_wrong() -> None:
    assert judged() == []


def test_every_problem_has_a_line_to_paste() -> None:
    everything = judged(
        {
            "zones": {"us-west-2a": zone_facts("us-west-2a"), LAX: zone_facts(LAX, opted_in=False)},
            "types": {"g4dn.2xlarge": NO_GPU},
            "vcpu_quota": 0.0,
            "address_quota": 0.0,
            "rules_per_group": 1.0,
            "health_checkers": None,
            "ami": None,
        }
    )
    assert len(everything) >= 7
    for problem in everything:
        assert problem.path.startswith(f"{PROJECT}:")
        assert problem.reason
        assert problem.fix.split()[0] in {"aws", "edge"}


# Zones


def test_zone_that_aws_does_not_know() -> None:
    problem = only(
        judged({"zones": {"us-west-2a": zone_facts("us-west-2a")}, "similar_zones": ("us-west-2a", "us-west-2-lax-1b")})
    )
    assert problem.path == f"{PROJECT}:sites[1].zone"
    assert problem.value == f'"{LAX}"'
    assert "us-west-2-lax-1b" in problem.reason
    assert "us-west-2" in problem.reason


def test_region_that_aws_does_not_know() -> None:
    config = validate(stack_config(sites=sites("us-west-9a")))
    facts = aws_facts(config.require("dev"), zones={}, similar_zones=())
    found = judge(config, facts, MODEL)
    assert [problem.path for problem in found] == [f"{PROJECT}:sites[0].zone"]
    assert "us-west-9" in found[0].reason


def test_zone_group_that_is_not_opted_in() -> None:
    facts = {"zones": {"us-west-2a": zone_facts("us-west-2a"), LAX: zone_facts(LAX, opted_in=False)}}
    problem = only(judged(facts))
    assert problem.path == f"{PROJECT}:sites[1].zone"
    assert "not opted in to the zone group us-west-2-lax-1" in problem.reason
    assert "aws ec2 modify-availability-zone-group --region us-west-2 --group-name us-west-2-lax-1" in problem.fix
    assert "sites[1].optIn" in problem.fix


NOT_OPTED_IN = {LAX: zone_facts(LAX, opted_in=False)}


@pytest.mark.parametrize("opt_in", [True, "anyway"])
def test_opt_in_on_request_where_the_type_is_offered(opt_in: object) -> None:
    config = settings(sites=sites(LAX, optIn=opt_in))
    assert judged({"zones": NOT_OPTED_IN}, sites=sites(LAX, optIn=opt_in)) == []
    (warning,) = warnings(config, aws_facts(config, zones=NOT_OPTED_IN))
    assert "opts the account in to the zone group us-west-2-lax-1" in warning
    assert "cannot be undone" in warning
    assert "stays after destroy" in warning
    assert list(warnings(config, aws_facts(config))) == [], "it is opted in already"


@pytest.mark.parametrize("opt_in", [False, True, "anyway"])
def test_no_opt_in_where_the_type_is_not_offered(opt_in: object) -> None:
    """AWS names other types of the zone, so it says what is offered before the opt-in."""
    facts = {"zones": NOT_OPTED_IN, "offered": {"g4dn.2xlarge": frozenset({"us-west-2a"})}}
    found = judged(facts, sites=sites(LAX, optIn=opt_in))
    assert f"is not offered in {LAX}" in found[-1].reason
    assert len(found) == (1 if opt_in else 2)


@pytest.mark.parametrize("silence", [{"silent_zones": frozenset({LAX})}, {"offered": {"g4dn.2xlarge": None}}])
def test_opt_in_without_knowing_the_offer_is_a_choice_of_its_own(silence: dict[str, Any]) -> None:
    facts = {"zones": NOT_OPTED_IN, "offered": {"g4dn.2xlarge": frozenset({"us-west-2a"})}} | silence
    problem = only(judged(facts, sites=sites(LAX, optIn=True)))
    assert problem.path == f"{PROJECT}:sites[0].optIn"
    assert "is unknown: AWS does not say before the opt-in to us-west-2-lax-1, which cannot be undone" in problem.reason
    assert "optIn' anyway" in problem.fix
    assert judged(facts, sites=sites(LAX, optIn="anyway")) == []


def test_places_are_those_of_the_config() -> None:
    """Also where an earlier site is malformed or stands there twice."""
    config = validate(
        stack_config(sites=[{"zone": "nowhere"}, *sites("us-west-2a", "us-west-2a", "us-west-2b", instanceType="t3.micro")])
    )
    facts = aws_facts(settings(sites=sites("us-west-2a", "us-west-2b", instanceType="t3.micro")), types={"t3.micro": NO_GPU})
    assert [problem.path for problem in judge(config, facts, MODEL)] == [
        f"{PROJECT}:sites[1].instanceType",
        f"{PROJECT}:sites[3].instanceType",
    ]


def test_sites_are_judged_also_when_something_else_is_wrong() -> None:
    config = validate(stack_config(without=("access",)))
    facts = aws_facts(settings(), zones={})
    assert {problem.path for problem in judge(config, facts, MODEL)} == {f"{PROJECT}:sites[{place}].zone" for place in (0, 1)}


# Instance types


def test_type_that_aws_does_not_know() -> None:
    found = judged({"types": {"g4dn.2xlarg": None}}, sites=sites("us-west-2a", instanceType="g4dn.2xlarg"))
    problem = only(found)
    assert (problem.path, problem.value) == (f"{PROJECT}:sites[0].instanceType", '"g4dn.2xlarg"')
    assert "no such instance type in us-west-2" in problem.reason


def test_type_without_gpu() -> None:
    problem = only(judged({"types": {"c5.4xlarge": NO_GPU}}, sites=sites("us-west-2a", instanceType="c5.4xlarge")))
    assert (problem.path, problem.value) == (f"{PROJECT}:sites[0].instanceType", '"c5.4xlarge"')
    assert "has no GPU" in problem.reason


def test_type_that_is_not_offered_in_the_zone() -> None:
    chosen = [{"zone": "us-west-2a"}, {"zone": LAX, "instanceType": "g6.xlarge"}]
    offered = {"g4dn.2xlarge": frozenset({"us-west-2a", LAX}), "g6.xlarge": frozenset({"us-west-2a"})}
    problem = only(judged({"offered": offered}, sites=chosen))
    assert (problem.path, problem.value) == (f"{PROJECT}:sites[1].instanceType", '"g6.xlarge"')
    assert f"is not offered in {LAX}" in problem.reason
    assert "g4dn.2xlarge" in problem.reason
    assert "describe-instance-type-offerings" in problem.fix


# Quotas

VCPUS = [
    # sites, vCPUs of others, quota, is it enough
    (sites("us-west-2a"), 0, 8.0, True),
    (sites("us-west-2a"), 0, 7.0, False),
    (sites("us-west-2a"), 8, 15.0, False),
    (sites("us-west-2a"), 8, 16.0, True),
    (sites("us-west-2a", LAX), 0, 15.0, False),
    (sites("us-west-2a", replicas=3), 0, 24.0, True),
    (sites("us-west-2a", replicas=3), 0, 23.0, False),
    (sites("us-west-2a"), 0, 0.0, False),
]


@pytest.mark.parametrize(("chosen", "used", "quota", "enough"), VCPUS)
def test_vcpu_quota_counts_what_would_be_added_beside_the_others(
    chosen: list[dict[str, Any]], used: int, quota: float, enough: bool
) -> None:
    """The stack's own planned instances are not in `used`, so that a second `up` is not refused."""
    found = judged({"vcpus_used": used, "vcpu_quota": quota}, sites=chosen)
    assert bool(found) != enough
    for problem in found:
        planned = 8 * sum(site.get("replicas", 1) for site in chosen)
        assert f"{planned} vCPUs" in problem.reason
        assert f"is {quota:g}" in problem.reason
        assert f"--quota-code L-DB2E81BA --desired-value {planned + used}" in problem.fix


@pytest.mark.parametrize(("used", "quota", "enough"), [(0, 2.0, True), (1, 2.0, False), (3, 5.0, True), (0, 0.0, False)])
def test_address_quota(used: int, quota: float, enough: bool) -> None:
    found = judged({"addresses_used": used, "address_quota": quota})
    assert bool(found) != enough
    for problem in found:
        assert "2 Elastic IP addresses" in problem.reason
        assert f"--quota-code L-0263D0A3 --desired-value {2 + used}" in problem.fix


def test_each_region_has_its_own_quota() -> None:
    chosen = sites("us-west-2a", LAX, "us-east-1a")
    problem = only(judged({"vcpu_quota": 8.0}, sites=chosen))
    assert "the sites of us-west-2 need 16 vCPUs" in problem.reason
    assert "--region us-west-2 " in problem.fix


def test_types_count_what_they_have() -> None:
    chosen = [{"zone": "us-west-2a", "instanceType": "g4dn.12xlarge"}, {"zone": "us-west-2b"}]
    types = {"g4dn.12xlarge": InstanceTypeFacts(vcpus=48, gpus=4, gpu_mib=16384), "g4dn.2xlarge": G4DN}
    assert judged({"types": types, "vcpu_quota": 56.0}, sites=chosen) == []
    assert "56 vCPUs" in only(judged({"types": types, "vcpu_quota": 55.0}, sites=chosen)).reason


# What AWS does not say


@pytest.mark.parametrize(
    "unknown",
    [
        "vcpu_quota", "address_quota", "vcpus_used", "addresses_used", "rules_per_group", "silent_zones",
        "types g4dn.2xlarge", "offered g4dn.2xlarge",
    ],
)  # fmt: skip
def test_what_aws_does_not_say_is_a_warning_with_the_reason(unknown: str) -> None:
    config, silence = settings(), {"unknown": {unknown: "the credentials lack the permission a:B"}}
    if " " in unknown:
        field, _, name = unknown.partition(" ")
        silence |= {field: {name: None}}
    assert judged(silence) == []
    (said,) = warnings(config, aws_facts(config, **silence))
    assert said.startswith("us-west-2: ")
    assert "unknown, because the credentials lack the permission a:B" in said
    assert ("g4dn.2xlarge" in said) == ("g4dn" in unknown)


@pytest.mark.parametrize(
    ("unknown", "path"),
    [("zones", "sites"), ("health_checkers", "routing.policy"), ("ami", "host.amis.us-west-2")],
)
def test_without_what_the_program_needs_it_refuses_for_the_right_reason(unknown: str, path: str) -> None:
    silence: dict[str, Any] = {"unknown": {unknown: "the credentials lack the permission a:B"}}
    problem = only(judged({**silence, **({"zones": {}} if unknown == "zones" else {})}))
    assert problem.path == f"{PROJECT}:{path}"
    assert "is unknown, because the credentials lack the permission a:B" in problem.reason
    assert "no such" not in problem.reason
    assert "docs/operations/iam-policy.json" in problem.fix


def test_a_pinned_ami_that_aws_does_not_speak_of_is_launched() -> None:
    pinned = {"amis": {"us-west-2": "ami-0123456789abcdef0"}}
    silence = {"unknown": {"ami": "the credentials lack the permission a:B"}}
    assert judged(silence, host=pinned) == []
    config = settings(host=pinned)
    assert len(list(warnings(config, aws_facts(config, **silence)))) == 1


@pytest.mark.parametrize("asked", ["hosted_zone", "foreign_records"])
def test_what_route_53_does_not_say(asked: str) -> None:
    config = validate(stack_config())
    known = aws_facts(config.require("dev"))
    facts = replace(known, hosted_zone=None if asked == "hosted_zone" else ZONE, unknown={asked: "nobody may know"})
    found = judge(config, facts, MODEL)
    assert [problem.reason for problem in found] == (
        ["whether the account has it is unknown, because nobody may know"] if asked == "hosted_zone" else []
    )
    (warning,) = warnings(config.require("dev"), facts)
    assert "unknown, because nobody may know" in warning


def test_no_warning_where_all_is_known() -> None:
    assert list(warnings(settings(), aws_facts(settings()))) == []


def test_the_whole_world_is_warned_about() -> None:
    config = settings(access={"clientCidrs": ["0.0.0.0/0"], "sshCidrs": ["8.8.8.8/32"]})
    (warning,) = warnings(config, aws_facts(config))
    assert "access.clientCidrs" in warning
    assert "0.0.0.0/0" in warning


# Security group rules


def clients(count: int) -> dict[str, Any]:
    return {"clientCidrs": [f"93.184.{number // 256}.{number % 256}/32" for number in range(count)], "sshCidrs": ["8.8.8.8/32"]}


@pytest.mark.parametrize(
    ("count", "weight", "quota", "routing", "enough"),
    [
        (34, 25, 60.0, {}, True),
        (35, 25, 60.0, {}, False),
        (59, 25, 60.0, {"routing": {"policy": "none"}}, True),
        (60, 25, 60.0, {"routing": {"policy": "none"}}, False),
        (34, 25, None, {}, True),
        (35, 25, None, {}, False),
        (100, 25, 200.0, {}, True),
        (10, 55, 60.0, {}, False),
    ],
)
def test_client_networks_beside_the_health_checkers(
    count: int, weight: int, quota: float | None, routing: dict[str, Any], enough: bool
) -> None:
    """The prefix list counts by its size, only where Route 53 checks; 60 is AWS's default."""
    facts = {"health_checkers_weight": weight, "rules_per_group": quota}
    found = judged(facts, access=clients(count), **routing)
    assert bool(found) != enough
    for problem in found:
        assert problem.path == f"{PROJECT}:access.clientCidrs"
        room = int(quota or 60) - 1 - (0 if routing else weight)
        assert f"leave room for {room} client networks" in problem.reason
        assert "--quota-code L-0EA8095F" in problem.fix


def test_client_networks_are_judged_beside_a_routing_that_is_wrong() -> None:
    config = validate(stack_config(access=clients(70), routing={}))
    assert config.routing is None
    found = judge(config, aws_facts(settings(), health_checkers_weight=25, rules_per_group=None), MODEL)
    assert "70 networks" in [problem.value for problem in found]
    (early,) = crowded(config)
    assert "leave room for 34 client networks" in early.reason
    assert crowded(validate(stack_config(access=clients(34), routing={}))) == []


def test_rules_of_ssh_count_too() -> None:
    access = {"clientCidrs": ["8.8.8.8/32"], "sshCidrs": [f"8.8.8.{number}/32" for number in range(35)]}
    assert "35 for SSH" in only(judged({"rules_per_group": 60.0}, access=access)).reason


def test_health_checkers_that_are_not_there() -> None:
    problem = only(judged({"health_checkers": None, "health_checkers_weight": 0}))
    assert "com.amazonaws.us-west-2.route53-healthchecks" in problem.reason
    assert judged({"health_checkers": None}, routing={"policy": "none"}) == []


# Names, images, models


def test_hosted_zone_that_is_not_there() -> None:
    config = validate(stack_config())
    regions = aws_facts(config.require("dev")).regions
    problem = only(judge(config, AwsFacts(regions, hosted_zone_trouble="no matching zone"), MODEL))
    assert (problem.path, problem.value) == (f"{PROJECT}:routing.hostedZone", '"acme.dev"')
    assert "no matching zone" in problem.reason
    assert "routing.createHostedZone true" in problem.fix


def test_no_routing_needs_no_hosted_zone() -> None:
    config = validate(stack_config(routing={"policy": "none"}))
    regions = aws_facts(config.require("dev")).regions
    assert judge(config, AwsFacts(regions), MODEL) == []


def test_ami_that_aws_does_not_know() -> None:
    problem = only(judged({"ami": None}))
    assert problem.path == f"{PROJECT}:host.amis.us-west-2"
    assert "public parameter" in problem.reason


def test_pinned_ami_that_aws_does_not_know() -> None:
    problem = only(judged({"ami": None}, host={"amis": {"us-west-2": "ami-0123456789abcdef0"}}))
    assert (problem.path, problem.value) == (f"{PROJECT}:host.amis.us-west-2", '"ami-0123456789abcdef0"')
    assert "no such AMI in this Region" in problem.reason


def name_problems(zone: HostedZoneFacts | None, foreign: tuple[str, ...] = (), **routing: Any) -> list[Problem]:
    """What is wrong with a service's name, where AWS has this zone and these records of others under the domain."""
    config = validate(stack_config(routing={"domain": "llm.acme.dev", **routing}))
    regions = aws_facts(config.require("dev")).regions
    return judge(config, AwsFacts(regions, zone, "no matching zone" if zone is None else None, foreign), MODEL)


@pytest.mark.parametrize("policy", ["latency", "geoproximity", "geolocation"])
def test_strange_records_under_the_domain_are_refused_with_the_steps(policy: str) -> None:
    """Route 53 refuses a simple record beside others."""
    mapping = {"default": "us-west-2a"}
    problem = only(name_problems(ZONE, ("CNAME",), policy=policy, hostedZone="acme.dev", geolocation=mapping))
    assert (problem.path, problem.value) == (f"{PROJECT}:routing.domain", '"llm.acme.dev"')
    assert "does not make: CNAME" in problem.reason
    own_name, first, second = problem.fix.splitlines()
    assert "routing.domain" in own_name
    assert "routing.policy none && edge up ENV" in first
    assert f"routing.policy {policy} && edge up ENV" in second
    assert name_problems(ZONE, ("CNAME",), policy="none") == [], "the first of the steps"


@pytest.mark.parametrize(
    ("zone", "routing", "reason"),
    [
        (ZONE, {"hostedZone": "acme.dev"}, None),
        (ZONE, {"hostedZoneId": "Z0HOSTED"}, None),
        (None, {"hostedZone": "acme.dev", "createHostedZone": True}, None),
        (replace(ZONE, stack="dev"), {"hostedZone": "acme.dev", "createHostedZone": True}, None),
        (ZONE, {"hostedZone": "acme.dev", "createHostedZone": True}, "has a public hosted zone acme.dev already (Z0HOSTED)"),
        (replace(ZONE, stack="prod"), {"hostedZone": "acme.dev", "createHostedZone": True}, "already (Z0HOSTED)"),
        (None, {"hostedZoneId": "Z0GONE"}, "no public hosted zone with this id in the account: no matching zone"),
        (replace(ZONE, is_private=True), {"hostedZoneId": "Z0HOSTED"}, "is a private zone"),
        (replace(ZONE, name="other.dev"), {"hostedZoneId": "Z0HOSTED"}, "in which the domain llm.acme.dev does not lie"),
        (replace(ZONE, name="me.dev"), {"hostedZoneId": "Z0HOSTED"}, "in which the domain llm.acme.dev does not lie"),
    ],
)
def test_hosted_zone_by_name_by_id_and_created(zone: HostedZoneFacts | None, routing: dict[str, Any], reason: str | None) -> None:
    found = name_problems(zone, **routing)
    assert [reason in problem.reason for problem in found if reason] == ([True] if reason else [])
    assert bool(found) == bool(reason)
    assert all("edge config ENV routing." in problem.fix for problem in found)


def test_model_that_does_not_fit_is_said_once_for_each_type() -> None:
    large = ModelFacts(70_000_000_000, gated=False, revision="x", source="the Hub")
    assert only(judged(model=large)).path == f"{PROJECT}:server.model"
    chosen = [{"zone": "us-west-2a"}, {"zone": "us-west-2b", "instanceType": "g5.xlarge"}]
    types = {"g4dn.2xlarge": G4DN, "g5.xlarge": InstanceTypeFacts(vcpus=4, gpus=1, gpu_mib=24576)}
    both = judged({"types": types}, model=large, sites=chosen)
    assert [word in problem.reason for word, problem in zip(("g4dn.2xlarge", "g5.xlarge"), both, strict=True)] == [True, True]


def test_type_without_gpu_is_not_blamed_on_the_model_too() -> None:
    large = ModelFacts(70_000_000_000, gated=False, revision="x", source="the Hub")
    found = judged({"types": {"g4dn.2xlarge": NO_GPU}}, model=large)
    assert {problem.path for problem in found} == {f"{PROJECT}:sites[{place}].instanceType" for place in (0, 1)}


# Several types


MORE = {"g5.xlarge": InstanceTypeFacts(4, 1, 24576, "A10G", frozenset({"x86_64"})), "g4dn.2xlarge": G4DN}


def test_each_of_several_types_is_judged_under_its_own_path() -> None:
    chosen = [{"zone": "us-west-2a", "instanceTypes": ["g4dn.2xlarge", "g5g.xlarge", "g4ad.xlarge", "t3.large", "g9.huge"]}]
    types = {
        "g4dn.2xlarge": G4DN,
        "g5g.xlarge": InstanceTypeFacts(4, 1, 16384, "T4g", frozenset({"arm64"})),
        "g4ad.xlarge": InstanceTypeFacts(4, 1, 8192, "Radeon Pro V520", frozenset({"x86_64"})),
        "t3.large": NO_GPU,
        "g9.huge": None,
    }
    found = {problem.path.partition("sites[0].")[2]: problem for problem in judged({"types": types}, sites=chosen)}
    assert list(found) == [f"instanceTypes[{index}]" for index in (1, 2, 3, 4)]
    for index, reason in enumerate(("arm64", "AMD", "no GPU", "knows no such"), 1):
        problem = found[f"instanceTypes[{index}]"]
        assert reason in problem.reason
        assert problem.fix == f"edge config ENV 'sites[0].instanceTypes[{index}]' --unset"


def test_a_later_type_that_is_not_offered_or_over_quota_or_too_small() -> None:
    chosen = [{"zone": "us-west-2a", "instanceTypes": ["g4dn.2xlarge", "g5.xlarge"]}, {"zone": "us-west-2b"}]
    offered = {"g4dn.2xlarge": frozenset({"us-west-2a", "us-west-2b"}), "g5.xlarge": frozenset({"us-west-2b"})}
    problem = only(judged({"types": MORE, "offered": offered}, sites=chosen))
    assert problem.path == f"{PROJECT}:sites[0].instanceTypes[1]"
    assert "is not offered in us-west-2a" in problem.reason
    large = {**MORE, "g5.xlarge": InstanceTypeFacts(16, 1, 24576, "A10G", frozenset({"x86_64"}))}
    problem = only(judged({"types": large, "vcpu_quota": 16.0}, sites=chosen))
    assert "with g5.xlarge in us-west-2a, the sites of us-west-2 need 24 vCPUs" in problem.reason
    small = {**MORE, "g5.xlarge": InstanceTypeFacts(4, 1, 4096, "T4", frozenset({"x86_64"}))}
    problem = only(judged({"types": small}, known_facts(ServerSettings(), HubAnswer(None, "")), sites=chosen))
    assert problem.path == f"{PROJECT}:sites[0].instanceTypes[1]"
    assert "GiB of GPU memory" in problem.reason


def test_several_types_without_a_problem() -> None:
    assert judged({"types": MORE}, sites=sites("us-west-2a", instanceTypes=["g5.xlarge", "g4dn.2xlarge"])) == []
