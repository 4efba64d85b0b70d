"""Under a policy each service refuses, in its own words, what the policy does not allow; the product names the missing action."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from automation.account.questions import ask_account
from automation.paths import PROJECT_ROOT
from components.settings import PROJECT, StackConfig, validate

from .conftest import Client, refused

pytestmark = pytest.mark.filterwarnings("ignore:Exception.Denied")  # moto's models of Route 53 and IAM lack AccessDenied

POLICY = PROJECT_ROOT / "docs" / "operations" / "iam-policy.json"
Control = Callable[..., tuple[int, dict[str, Any]]]


def allow(control: Control, *actions: str) -> None:
    statement = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]
    assert control("PUT", "policy", Version="2012-10-17", Statement=statement) == (200, {})


@pytest.mark.parametrize(
    ("service", "call", "code", "action"),
    [
        ("ec2", "describe_vpcs", "UnauthorizedOperation", "ec2:DescribeVpcs"),
        ("route53", "list_hosted_zones", "AccessDenied", "route53:ListHostedZones"),
        ("iam", "list_roles", "AccessDenied", "iam:ListRoles"),
    ],
)
def test_each_service_refuses_in_its_own_words(  # noqa: PLR0917 - the rows of a table
    client: Client, control: Control, service: str, call: str, code: str, action: str
) -> None:
    allow(control, "s3:*")
    with refused(code, f"User: .* is not authorized to perform: {action} because no identity-based policy allows"):
        getattr(client(service), call)()
    assert client("sts").get_caller_identity()["Account"], "AWS asks for no permission"
    allow(control, f"{service}:*")
    getattr(client(service), call)()


def test_services_that_speak_json(client: Client, control: Control) -> None:
    allow(control, "s3:*")
    with refused("AccessDeniedException", "ssm:GetParameter because"):
        client("ssm").get_parameter(Name="x")
    with refused("AccessDeniedException", "servicequotas:GetServiceQuota because"):
        client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode="L-DB2E81BA")


def test_what_is_tagged_at_birth_needs_leave_to_tag(client: Client, control: Control) -> None:
    allow(control, "ec2:CreateVpc")
    client("ec2").create_vpc(CidrBlock="10.0.0.0/16")
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}]
    with refused("UnauthorizedOperation", "ec2:CreateTags because"):
        client("ec2").create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)


def test_a_policy_ends(client: Client, control: Control) -> None:
    allow(control, "s3:*")
    assert control("PUT", "policy")[0] == 200
    client("ec2").describe_vpcs()


def test_denials_are_not_judged_and_not_taken(control: Control) -> None:
    code, _ = control("PUT", "policy", Statement=[{"Effect": "Deny", "Action": "*", "Resource": "*"}])
    assert code == 400


ASKED = {
    "ec2:DescribeAvailabilityZones": "zones",
    "ec2:DescribeInstanceTypes": "types g4dn.2xlarge",
    "ec2:DescribeInstanceTypeOfferings": "offered g4dn.2xlarge",
    "ec2:DescribeInstances": "vcpus_used",
    "ec2:DescribeAddresses": "addresses_used",
    "ec2:DescribeManagedPrefixLists": "health_checkers",
    "servicequotas:GetServiceQuota": "vcpu_quota",
    "ssm:GetParameter": "ami",
    "route53:ListHostedZones": "hosted_zone",
}


@pytest.mark.parametrize("action", ASKED)
def test_a_missing_permission_is_named_and_nothing_is_said_not_to_exist(client: Client, control: Control, action: str) -> None:
    policy = json.loads(POLICY.read_text())
    for statement in policy["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action]
    control("PUT", "policy", **policy)
    sections = {
        "sites": [{"zone": "us-west-2-lax-1a"}],
        "access": {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["93.184.216.34/32"]},
        "routing": {"domain": "llm.acme.dev", "hostedZone": "acme.dev"},
    }
    validated = validate(StackConfig("dev", {f"{PROJECT}:{key}": json.dumps(value) for key, value in sections.items()}))
    facts = ask_account(validated, client)
    unknown = {**facts.regions["us-west-2"].unknown, **facts.unknown}
    assert unknown[ASKED[action]] == f"the credentials lack the permission {action}"
    assert set(unknown.values()) == {unknown[ASKED[action]]}
