"""What is asked of AWS and how the answers are read, under mocked lookups; what AWS does not answer stays unknown."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from component_helpers import problems, sites, stack_config
from recorded_program import Answers, run_mocked

from components.aws_facts import AwsFacts, HostedZoneFacts, ZoneFacts, because
from components.provider_lookups import AwsSilentError, ask_aws
from components.settings import validate

LAX, HNL = "us-west-2-lax-1a", "us-west-2-hnl-1a"
Filters = dict[str, list[str]]


class Aws:
    """An account: zones, types, instances and addresses, and which lookups it denies."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.regions = {"us-west-2": ["us-west-2a", "us-west-2b", LAX, HNL]}
        self.opted_out = {HNL}
        self.types = {"g4dn.2xlarge": (8, [{"count": 1, "memorySize": 16384, "name": "T4"}])}
        self.instances: dict[str, tuple[str, dict[str, str]]] = {}
        """By id, type and tags."""
        self.spot: set[str] = set()
        self.addresses: dict[str, dict[str, str]] = {}
        """By allocation id, tags."""
        self.images = {"ami-0123456789abcdef0"}
        self.deprecated = {"ami-0dead000000000000"}
        self.records: list[dict[str, Any]] = []
        """As Route 53 lists them."""
        self.zone_tags: dict[str, str] = {}
        self.missing_zone = False
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, token: str, args: dict[str, Any]) -> dict[str, Any]:
        name = token.rpartition("/")[2].partition(":")[0]
        self.asked.append((name, args))
        if name in self.denied:
            raise LookupError(
                f"reading\n\t* api error AccessDenied: User x is not authorized to perform: aws:{name} because no policy\n\n"
            )
        answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "getCallerIdentity": lambda _: {"accountId": "1"},
            "getAvailabilityZones": self._zones,
            "getAvailabilityZone": self._zone,
            "getInstanceType": self._type,
            "getInstanceTypeOfferings": lambda args: {"locations": _offers(args)},
            "getInstances": lambda args: {
                "ids": [key for key, (_, tags) in self.instances.items() if _matches(args, tags, key in self.spot)]
            },
            "getInstance": lambda args: {"instanceType": self.instances[args["instanceId"]][0]},
            "getEips": lambda args: {"allocationIds": [key for key, tags in self.addresses.items() if _matches(args, tags)]},
            "getServiceQuota": lambda args: {
                "value": {"L-DB2E81BA": 64.0, "L-0263D0A3": 5.0, "L-0EA8095F": 80.0}[args["quotaCode"]]
            },
            "getManagedPrefixList": lambda args: {"id": f"pl-of-{args['name']}", "maxEntries": 25, "entries": []},
            "getParameter": lambda _: {"value": "secret", "insecureValue": "ami-newest"},
            "getZone": self._hosted_zone,
            "getRecords": lambda _: {"resourceRecordSets": self.records},
            "getAmi": self._ami,
        }
        return answers[name](args)

    def _zones(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["region"] not in self.regions:
            raise LookupError(f"invalid AWS Region: {args['region']}")
        names = self.regions[args["region"]]
        seen_without_asking = [name for name in names if name not in self.opted_out]
        return {"names": names if args.get("allAvailabilityZones") else seen_without_asking}

    def _zone(self, args: dict[str, Any]) -> dict[str, Any]:
        name = args["name"]
        assert name not in self.opted_out or args.get("allAvailabilityZones"), "invisible without it"
        return {
            "groupName": f"group-of-{name}",
            "networkBorderGroup": f"border-of-{name}",
            "zoneType": "local-zone" if name in {LAX, HNL} else "availability-zone",
            "optInStatus": "not-opted-in" if name in self.opted_out else "opted-in" if name == LAX else "opt-in-not-required",
        }

    def _type(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["instanceType"] not in self.types:
            raise LookupError("api error InvalidInstanceType: The following supplied instance types do not exist")
        vcpus, gpus = self.types[args["instanceType"]]
        return {"defaultVcpus": vcpus, "gpuses": gpus, "supportedArchitectures": ["x86_64"]}

    def _hosted_zone(self, args: dict[str, Any]) -> dict[str, Any]:
        if self.missing_zone:
            raise LookupError("no matching Route 53 Hosted Zone found")
        return {
            "zoneId": args.get("zoneId") or f"Z-{args['name']}",
            "name": args.get("name") or "acme.dev",
            "privateZone": False,
            "tags": self.zone_tags,
        }

    def _ami(self, args: dict[str, Any]) -> dict[str, Any]:
        ((wanted,),) = (each["values"] for each in args["filters"] if each["name"] == "image-id")
        if wanted not in self.images and not (wanted in self.deprecated and args.get("includeDeprecated")):
            raise LookupError("Your query returned no results")
        return {"imageId": wanted}


def _offers(args: dict[str, Any]) -> list[str]:
    """G4dn in two zones; nothing of a zone that is not opted in."""
    ((name, values),) = ((each["name"], each["values"]) for each in args["filters"])
    return ["us-west-2a", LAX] if name == "instance-type" else [zone for zone in values if zone != HNL]


def _matches(args: dict[str, Any], tags: dict[str, str], is_spot: bool = False) -> bool:
    filters: list[dict[str, Any]] = args.get("filters") or []
    wanted: Filters = {each["name"]: each["values"] for each in filters}
    if "instance-lifecycle" in wanted and not is_spot:
        return False
    return all(tags.get(key.removeprefix("tag:")) in values for key, values in wanted.items() if key.startswith("tag:"))


@pytest.fixture
def aws() -> Aws:
    return Aws()


def ask(aws: Aws, stack: str = "dev", **sections: Any) -> AwsFacts:
    found: list[AwsFacts] = []
    run_mocked(lambda: found.append(ask_aws(validate(stack_config(stack, **sections)))), stack, Answers(aws.call))
    return found[0]


def own(replica: str, stack: str = "dev") -> dict[str, str]:
    return {"edge-inference:stack": stack, "edge-inference:replica": replica}


def test_all_answers_are_read(aws: Aws) -> None:
    facts = ask(aws)
    region = facts.regions["us-west-2"]
    assert region.zones == {
        "us-west-2a": ZoneFacts("group-of-us-west-2a", "border-of-us-west-2a", is_local=False, opted_in=True),
        LAX: ZoneFacts(f"group-of-{LAX}", f"border-of-{LAX}", is_local=True, opted_in=True),
    }
    g4dn = region.types["g4dn.2xlarge"]
    assert g4dn
    assert (g4dn.vcpus, g4dn.gpus, g4dn.gpu_mib, g4dn.gpu, g4dn.architectures) == (8, 1, 16384, "T4", {"x86_64"})
    assert region.offered == {"g4dn.2xlarge": frozenset({"us-west-2a", LAX})}
    assert (region.vcpu_quota, region.address_quota, region.rules_per_group) == (64.0, 5.0, 80.0)
    assert (region.vcpus_used, region.addresses_used) == (0, 0)
    assert region.health_checkers == "pl-of-com.amazonaws.us-west-2.route53-healthchecks"
    assert region.health_checkers_weight == 25
    assert region.ami == "ami-newest"
    assert facts.hosted_zone == HostedZoneFacts("Z-acme.dev", "acme.dev")


def test_zone_that_is_not_opted_in_is_seen(aws: Aws) -> None:
    region = ask(aws, sites=sites(HNL, LAX)).regions["us-west-2"]
    assert region.zones[HNL].opted_in is False
    assert region.silent_zones == {HNL}


def test_unknown_zone_is_absent_and_the_others_are_named(aws: Aws) -> None:
    region = ask(aws, sites=sites("us-west-2-sfo-1a")).regions["us-west-2"]
    assert not region.zones
    assert set(region.similar_zones) == set(aws.regions["us-west-2"])


def test_region_that_does_not_exist_is_no_traceback(aws: Aws) -> None:
    region = ask(aws, sites=sites("us-west-9a")).regions["us-west-9"]
    assert (region.zones, region.unknown) == ({}, {})


def test_type_that_does_not_exist(aws: Aws) -> None:
    region = ask(aws, sites=sites(LAX, instanceType="g9.huge")).regions["us-west-2"]
    assert (region.types, region.unknown) == ({"g9.huge": None}, {})


def test_each_lookup_names_its_region(aws: Aws) -> None:
    aws.regions["us-east-1"] = ["us-east-1a"]
    ask(aws, sites=sites("us-west-2a", "us-east-1a"))
    for name, args in aws.asked:
        if name not in {"getCallerIdentity", "getZone", "getRecords"}:
            assert args["region"] in {"us-west-2", "us-east-1"}, name


def test_the_own_hosts_are_not_counted_twice(aws: Aws) -> None:
    """A second `up` needs no more than the first."""
    aws.instances = {"i-1": ("g4dn.2xlarge", own(f"{LAX}-1")), "i-2": ("g4dn.2xlarge", own("us-west-2a-1"))}
    aws.addresses = {"eip-1": own(f"{LAX}-1"), "eip-2": own("us-west-2a-1")}
    region = ask(aws).regions["us-west-2"]
    assert (region.vcpus_used, region.addresses_used) == (0, 0)


def test_hosts_of_others_are_counted(aws: Aws) -> None:
    """Another environment's, a stranger's, and own ones that the config asks for no more: they go after the new ones come."""
    aws.instances = {
        "i-own": ("g4dn.2xlarge", own(f"{LAX}-1")),
        "i-prod": ("g4dn.2xlarge", own(f"{LAX}-1", "prod")),
        "i-stranger": ("g4dn.2xlarge", {}),
        "i-leaving": ("g4dn.2xlarge", own(f"{LAX}-2")),
    }
    aws.addresses = {"eip-own": own(f"{LAX}-1"), "eip-prod": own(f"{LAX}-1", "prod"), "eip-stranger": {}}
    region = ask(aws).regions["us-west-2"]
    assert (region.vcpus_used, region.addresses_used) == (24, 2)


def test_spot_instances_are_not_counted(aws: Aws) -> None:
    """They have a quota of their own."""
    aws.instances, aws.spot = {"i-spot": ("g4dn.2xlarge", {}), "i-stranger": ("g4dn.2xlarge", {})}, {"i-spot"}
    assert ask(aws).regions["us-west-2"].vcpus_used == 8


def test_instances_are_asked_for_by_what_the_quota_counts(aws: Aws) -> None:
    ask(aws)
    for name, args in aws.asked:
        if name == "getInstances":
            filters: Filters = {each["name"]: each["values"] for each in args["filters"]}
            assert filters["instance-type"] == ["g*", "vt*"]
            assert set(args["instanceStateNames"]) == {"pending", "running"}


@pytest.mark.parametrize(
    ("denied", "unknown"),
    [
        ("getAvailabilityZones", {"zones"}),
        ("getAvailabilityZone", {"zones"}),
        ("getInstanceType", {"types g4dn.2xlarge"}),
        ("getInstanceTypeOfferings", {"offered g4dn.2xlarge"}),
        ("getServiceQuota", {"vcpu_quota", "address_quota", "rules_per_group"}),
        ("getInstances", {"vcpus_used"}),
        ("getEips", {"addresses_used"}),
        ("getManagedPrefixList", {"health_checkers"}),
        ("getParameter", {"ami"}),
        ("getZone", {"hosted_zone"}),
        ("getRecords", {"foreign_records"}),
    ],
)
def test_denied_lookup_is_unknown_because_of_the_missing_permission(aws: Aws, denied: str, unknown: set[str]) -> None:
    aws.denied = {denied}
    facts = ask(aws)
    found = {**facts.regions["us-west-2"].unknown, **facts.unknown}
    assert found == dict.fromkeys(unknown, f"the credentials lack the permission aws:{denied}")
    assert facts.hosted_zone_trouble is None


def test_denied_image_is_unknown(aws: Aws) -> None:
    aws.denied = {"getAmi"}
    region = ask(aws, host={"amis": {"us-west-2": "ami-0123456789abcdef0"}}).regions["us-west-2"]
    assert "aws:getAmi" in region.unknown["ami"]


def test_hosted_zone_that_is_not_there_says_why(aws: Aws) -> None:
    aws.missing_zone = True
    facts = ask(aws)
    assert (facts.hosted_zone, facts.unknown) == (None, {})
    assert facts.hosted_zone_trouble == "no matching Route 53 Hosted Zone found"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            "An error occurred (UnauthorizedOperation) when calling X: User: x is not authorized to perform: ec2:DescribeImages",
            "the credentials lack the permission ec2:DescribeImages",
        ),
        (
            "operation error EC2: DescribeImages, https response error StatusCode: 403, api error UnauthorizedOperation: No",
            "the credentials lack the permission DescribeImages",
        ),
        (
            "An error occurred (AccessDenied) when calling the ListHostedZones operation: Denied.",
            "the credentials lack the permission ListHostedZones",
        ),
        ("invoking: 1 error occurred:\n\t* reading EC2 AMIs: RequestLimitExceeded\n\n", "reading EC2 AMIs: RequestLimitExceeded"),
        ("", "AWS did not answer"),
    ],
)
def test_reason_of_an_error(error: str, reason: str) -> None:
    assert because(error) == reason


def test_hosted_zone_is_a_public_one(aws: Aws) -> None:
    ask(aws)
    (asked,) = (args for name, args in aws.asked if name == "getZone")
    assert asked == {"name": "acme.dev", "privateZone": False}


def test_without_routing_nothing_of_it_is_asked(aws: Aws) -> None:
    facts = ask(aws, routing={"policy": "none"})
    assert not {"getZone", "getManagedPrefixList"} & {name for name, _ in aws.asked}
    assert facts.regions["us-west-2"].health_checkers is None


def test_pinned_ami_that_does_not_exist(aws: Aws) -> None:
    """Found before a GPU is launched with it."""
    region = ask(aws, host={"amis": {"us-west-2": "ami-00000000000000000"}}).regions["us-west-2"]
    assert (region.ami, region.unknown) == (None, {})


def test_pinned_ami_that_its_owner_has_deprecated_is_there(aws: Aws) -> None:
    """AWS hides it from such a query, and launches it."""
    (pinned,) = aws.deprecated
    assert ask(aws, host={"amis": {"us-west-2": pinned}}).regions["us-west-2"].ami == pinned


OWN = {"type": "A", "aliasTarget": {"dnsName": "geoproximity.llm.edge.acme.dev."}}
ELSEWHERE = {"type": "A", "aliasTarget": {"dnsName": "geoproximity.llm-dev.edge.acme.dev."}}


@pytest.mark.parametrize(
    ("records", "foreign"),
    [
        ([], ()),
        ([{"type": "TXT"}, {"type": "NS"}, OWN], ()),
        ([{"type": "A"}], ("A",)),
        ([ELSEWHERE], ("A",)),
        ([{"type": "CNAME"}, {"type": "CAA"}], ("CNAME",)),
        ([OWN, {"type": "AAAA"}], ("AAAA",)),
        ([{"type": "A", "setIdentifier": name} for name in ("us-west-2", "us-east-1")], ("A with a routing policy",)),
        ([{**OWN, "setIdentifier": "us-west-2"}], ("A with a routing policy",)),
    ],
)
def test_address_records_of_the_domain_that_are_not_the_programs(
    aws: Aws, records: list[dict[str, Any]], foreign: tuple[str, ...]
) -> None:
    aws.records = [{"name": "llm.edge.acme.dev.", "setIdentifier": "", "aliasTarget": None, **record} for record in records]
    assert ask(aws).foreign_records == foreign


def test_hosted_zone_by_id(aws: Aws) -> None:
    zone = ask(aws, routing={"domain": "llm.acme.dev", "hostedZoneId": "Z0GIVEN"}).hosted_zone
    (asked,) = (args for name, args in aws.asked if name == "getZone")
    assert asked == {"zoneId": "Z0GIVEN"}
    assert zone
    assert zone.id == "Z0GIVEN"


def test_who_created_the_hosted_zone(aws: Aws) -> None:
    aws.zone_tags = {"edge-inference:stack": "prod"}
    zone = ask(aws).hosted_zone
    assert zone
    assert zone.stack == "prod"


def test_only_the_domains_own_records_are_asked_for(aws: Aws) -> None:
    ask(aws)
    (asked,) = (args for name, args in aws.asked if name == "getRecords")
    assert asked["zoneId"] == "Z-acme.dev"
    for name, wanted in (
        ("llm.edge.acme.dev", True),
        ("llm.edge.acme.dev.", True),
        ("llmxedge.acme.dev", False),
        ("a.llm.edge.acme.dev", False),
    ):
        assert bool(re.search(asked["nameRegex"], name)) == wanted, name


def test_denied_records_are_no_obstacle(aws: Aws) -> None:
    aws.denied = {"getRecords"}
    assert ask(aws).foreign_records == ()


def test_pinned_ami_is_not_looked_up(aws: Aws) -> None:
    facts = ask(aws, host={"amis": {"us-west-2": "ami-0123456789abcdef0"}})
    assert facts.regions["us-west-2"].ami == "ami-0123456789abcdef0"
    assert "getParameter" not in {name for name, _ in aws.asked}


def test_aws_that_answers_nothing_at_all(aws: Aws) -> None:
    aws.denied = {"getCallerIdentity"}
    with pytest.raises(AwsSilentError, match="AccessDenied"):
        ask(aws)


def test_well_formed_sites_of_a_bad_config_are_asked_for(aws: Aws) -> None:
    config: dict[str, Any] = {"sites": [{"zone": "nowhere"}, {"zone": LAX}]}
    assert "sites[0].zone" in problems(stack_config(**config))
    assert set(ask(aws, **config).regions["us-west-2"].zones) == {LAX}
