"""The components under Pulumi's mocks: what is registered, with which inputs and options, in which order.

Every program runs to its end before anything is asserted, and all is asserted on plain data, so no failure is swallowed
(shown below).
"""

import inspect
import re
from collections import Counter
from functools import cache
from itertools import pairwise, permutations
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
import yaml
from component_helpers import HOST_KEY_SECRET, TOKEN, checked_config, deployer_key, sites
from recorded_program import Answers, Deployed, RecordingMonitor, Registered, address_of, deploy, run_mocked

from components.host_identity import deployer_public_key, derive_host_key, user_data
from components.host_steps import dial_attempts
from components.settings import OUR_TAGS

REGION_ZONE, LAX, LAX_B, HNL = "us-west-2a", "us-west-2-lax-1a", "us-west-2-lax-1b", "us-west-2-hnl-1a"
BOSTON = "us-east-1-bos-1a"
COMPONENTS = {"RegionNetwork", "EdgeInferenceSite", "InferenceServer", "ServiceRouting"}


@cache
def three_sites() -> Deployed:
    return deploy(checked_config("prod", sites=sites(REGION_ZONE, LAX, HNL), tags={"team": "edge"}))


@cache
def two_regions() -> Deployed:
    """Two Regions, two zones of one group, replicas, a site that reserves."""
    chosen = [
        {"zone": REGION_ZONE, "replicas": 2},
        {"zone": LAX, "replicas": 2, "reserve": True},
        {"zone": LAX_B},
        {"zone": BOSTON},
    ]
    return deploy(checked_config(sites=chosen))


@cache
def unrouted() -> Deployed:
    return deploy(checked_config(routing={"policy": "none"}))


@pytest.fixture(params=[three_sites, two_regions, unrouted], ids=lambda each: each.__name__)
def deployed(request: pytest.FixtureRequest) -> Deployed:
    return request.param()


def custom(deployed: Deployed) -> list[Registered]:
    """What a provider makes; the engine's own Stash is none of it."""
    return [each for each in deployed if each.is_custom and not each.token.startswith("pulumi:")]


def aws_class(resource: Registered) -> Any:
    """The SDK's class of a resource."""
    module = resource.token.split(":")[1].split("/")[0]
    return getattr(getattr(aws, module), resource.kind)


def takes(resource: Registered, argument: str) -> bool:
    return resource.token.startswith("aws:") and argument in inspect.signature(aws_class(resource)._internal_init).parameters


# That these tests can fail


def test_false_assertion_in_an_apply_is_not_swallowed() -> None:
    def program() -> pulumi.Output[None]:
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")

        def check(cidr: str) -> None:
            assert cidr == "10.9.9.0/24"

        return vpc.cidr_block.apply(check)

    with pytest.raises(AssertionError):
        run_mocked(program)


def test_false_assertion_in_an_apply_that_nobody_returned_is_not_swallowed() -> None:
    def program() -> None:
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")

        def check(cidr: str) -> None:
            assert cidr == "10.9.9.0/24"

        vpc.cidr_block.apply(check)

    with pytest.raises(AssertionError):
        run_mocked(program)


def test_error_of_a_provider_is_not_swallowed() -> None:
    class Refuses(Answers):
        def new_resource(self, args: Any) -> Any:
            raise ValueError(f"refused {args.name}")

    def program() -> None:
        aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")

    with pytest.raises(Exception, match="refused vpc"):
        run_mocked(program, answers=Refuses())


def test_the_recorder_sees_options() -> None:
    def program() -> None:
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")
        aws.ec2.Eip(
            "address",
            opts=pulumi.ResourceOptions(
                depends_on=[vpc], retain_on_delete=True, delete_before_replace=True, ignore_changes=["tags"], deleted_with=vpc
            ),
        )

    vpc, address = run_mocked(program)
    assert address.depends_on == {vpc.label}
    assert (address.retain_on_delete, address.delete_before_replace) == (True, True)
    assert (address.ignore_changes, address.deleted_with) == (("tags",), vpc.label)
    assert (vpc.depends_on, vpc.retain_on_delete, vpc.ignore_changes) == (frozenset(), False, ())


def test_the_recorder_sees_secrets() -> None:
    def program() -> None:
        aws.ec2.Vpc("vpc", cidr_block=pulumi.Output.secret("10.0.0.0/16"), enable_dns_support=True)

    (vpc,) = run_mocked(program)
    assert vpc.secret_inputs == {"cidrBlock"}
    assert vpc.inputs["cidrBlock"] == "10.0.0.0/16"


# Names and places

SITE = "edge-inference:index:EdgeInferenceSite"
NETWORK = "edge-inference:index:RegionNetwork"
SERVER = f"{SITE}$edge-inference:index:InferenceServer"
ROUTING = "edge-inference:index:ServiceRouting"
TYPE_CHAINS = {
    "pulumi:index:Stash": 1,
    NETWORK: 1,
    f"{NETWORK}$aws:ec2/vpc:Vpc": 1,
    f"{NETWORK}$aws:ec2/internetGateway:InternetGateway": 1,
    f"{NETWORK}$aws:ec2/routeTable:RouteTable": 1,
    f"{NETWORK}$aws:ec2/route:Route": 1,
    SITE: 3,
    f"{SITE}$aws:ec2/subnet:Subnet": 3,
    f"{SITE}$aws:ec2/routeTableAssociation:RouteTableAssociation": 3,
    f"{SITE}$aws:ec2/securityGroup:SecurityGroup": 3,
    f"{SITE}$aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": 9,
    f"{SITE}$aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": 3,
    f"{SITE}$aws:ec2/keyPair:KeyPair": 3,
    f"{SITE}$aws:ec2/eip:Eip": 3,
    f"{SITE}$aws:ec2/instance:Instance": 3,
    f"{SITE}$aws:ec2/eipAssociation:EipAssociation": 3,
    SERVER: 3,
    f"{SERVER}$command:remote:Command": 18,
    ROUTING: 1,
    f"{ROUTING}$aws:route53/healthCheck:HealthCheck": 3,
    f"{ROUTING}$aws:route53/record:Record": 11,
}
"""How a deployed stack's URNs are built: another chain deletes and makes anew what is running (or needs aliases)."""


def test_type_chains() -> None:
    assert Counter(three_sites().type_chain(each) for each in three_sites()) == TYPE_CHAINS


def test_components_have_the_projects_tokens(deployed: Deployed) -> None:
    for each in deployed:
        assert each.is_custom != each.token.startswith("edge-inference:index:")
        assert each.is_custom or each.kind in COMPONENTS


def test_children_belong_to_a_component_and_begin_with_its_name(deployed: Deployed) -> None:
    for each in deployed:
        parent = deployed.parent(each)
        if parent is None:
            assert not each.is_custom or each.label == "Stash deployment", f"{each.label} belongs to nobody"
        else:
            assert parent.kind in COMPONENTS
            assert each.name.startswith(f"{parent.name}-")


def test_names_are_unique_within_a_type(deployed: Deployed) -> None:
    """The engine refuses two resources of one URN; the mocks do not."""
    assert max(Counter(each.label for each in deployed).values()) == 1


def test_names_are_unique_for_who_reads_the_progress(deployed: Deployed) -> None:
    assert max(Counter(each.name for each in custom(deployed)).values()) == 1


def test_names_are_keyed_by_zone_and_replica() -> None:
    assert three_sites().names("EdgeInferenceSite") == sorted([REGION_ZONE, LAX, HNL])
    assert two_regions().names("InferenceServer") == sorted(
        [f"{REGION_ZONE}-1", f"{REGION_ZONE}-2", f"{LAX}-1", f"{LAX}-2", f"{LAX_B}-1", f"{BOSTON}-1"]
    )
    assert two_regions().names("RegionNetwork") == ["us-east-1", "us-west-2"]


# Tags and Regions


def test_tags_wherever_there_are_tags(deployed: Deployed) -> None:
    stack = deployed.resources[0].urn.split("::")[0].removeprefix("urn:pulumi:")
    for each in custom(deployed):
        if takes(each, "tags"):
            assert each.inputs["tags"]["edge-inference:stack"] == stack, each.label
            assert each.inputs["tags"]["Name"].startswith(f"edge-inference-{stack}-"), each.label
        else:
            assert "tags" not in each.inputs


def test_everything_carries_the_id_that_the_state_keeps(deployed: Deployed) -> None:
    """An id, not a name: two stacks of one account may be called alike."""
    stash = deployed.one("Stash", "deployment")
    assert (deployed.parent(stash), stash.ignore_changes) == (None, ("input",))
    assert re.fullmatch(r"[0-9a-f]{32}", stash.inputs["input"])
    for each in custom(deployed):
        for tags in (each.inputs.get("tags"), each.inputs.get("volumeTags")):
            assert tags is None or tags["edge-inference:deployment"] == "the-deployments-id", each.label


def test_tags_of_ours_are_as_many_as_settings_count(deployed: Deployed) -> None:
    for each in deployed.of_kind("Instance"):
        assert each.inputs["tags"].keys() - {"team"} == set(OUR_TAGS)


def test_most_types_have_tags() -> None:
    """Guards the test before this one."""
    tagged = {each.kind for each in custom(three_sites()) if takes(each, "tags")}
    assert tagged >= {"Vpc", "Subnet", "Instance", "Eip", "SecurityGroupIngressRule", "HealthCheck", "KeyPair"}


def test_additional_tags_reach_everything() -> None:
    for each in custom(three_sites()):
        assert not takes(each, "tags") or each.inputs["tags"]["team"] == "edge"


def test_own_tags_win_over_additional_ones() -> None:
    """Else an environment could take another's resources for its own."""
    deployed = deploy(checked_config("dev", tags={"edge-inference:stack": "prod", "Name": "mine"}, routing={"policy": "none"}))
    assert {each.inputs["tags"]["edge-inference:stack"] for each in custom(deployed) if takes(each, "tags")} == {"dev"}


def test_replicas_are_told_apart_by_tags(deployed: Deployed) -> None:
    """By these tags preflight knows its own instances and addresses."""
    for kind in ("Instance", "Eip"):
        for each in deployed.of_kind(kind):
            assert each.inputs["tags"]["edge-inference:replica"] == each.name.rpartition("-")[0]
    for each in deployed.of_kind("Instance"):
        assert each.inputs["volumeTags"]["edge-inference:stack"] == each.inputs["tags"]["edge-inference:stack"]


def test_region_wherever_there_is_a_region(deployed: Deployed) -> None:
    """One provider serves all Regions; what names none would go to the provider's own."""
    for each in custom(deployed):
        if takes(each, "region"):
            assert each.name.startswith(each.inputs["region"]), each.label
        else:
            assert "region" not in each.inputs


# Networks


def test_one_network_for_each_parent_region() -> None:
    assert {each.inputs["region"] for each in two_regions().of_kind("Vpc")} == {"us-west-2", "us-east-1"}
    assert len(two_regions().of_kind("Vpc")) == 2


def test_way_to_the_internet(deployed: Deployed) -> None:
    for vpc in deployed.of_kind("Vpc"):
        region = vpc.inputs["region"]
        gateway = deployed.one("InternetGateway", f"{region}-gateway")
        table = deployed.one("RouteTable", f"{region}-routes")
        assert gateway.inputs["vpcId"] == table.inputs["vpcId"] == f"id-of-{vpc.name}"
        assert gateway.replace_on_changes == ("vpcId",), (
            "another VPC has another gateway: this one is held by the old one's hosts"
        )
        assert not table.inputs.get("routes")
        route = deployed.one("Route", f"{region}-internet").inputs
        assert (route["destinationCidrBlock"], route["gatewayId"]) == ("0.0.0.0/0", f"id-of-{gateway.name}")
        assert route["routeTableId"] == f"id-of-{table.name}"
    for subnet in deployed.of_kind("Subnet"):
        (attached,) = deployed.of_kind("RouteTableAssociation", subnetId=f"id-of-{subnet.name}")
        assert attached.inputs["routeTableId"] == f"id-of-{subnet.inputs['region']}-routes"


def test_subnet_lies_in_its_zone() -> None:
    subnets = {each.inputs["availabilityZone"]: each.inputs for each in two_regions().of_kind("Subnet")}
    assert set(subnets) == {REGION_ZONE, LAX, LAX_B, BOSTON}
    assert subnets[REGION_ZONE]["cidrBlock"] == "10.64.0.0/24"
    assert not any(inputs["mapPublicIpOnLaunch"] for inputs in subnets.values())


def test_given_subnet_is_used() -> None:
    deployed = deploy(checked_config(sites=[{"zone": LAX, "subnetCidr": "10.64.200.0/25"}]))
    assert deployed.one("Subnet", f"{LAX}-subnet").inputs["cidrBlock"] == "10.64.200.0/25"


# Opt-in


def test_no_opt_in_unless_asked_for(deployed: Deployed) -> None:
    assert not deployed.of_kind("AvailabilityZoneGroup")


def test_opt_in_on_request_once_for_each_group_and_never_undone() -> None:
    chosen = [{"zone": zone, "optIn": True} for zone in (LAX, LAX_B, REGION_ZONE)] + [{"zone": HNL}]
    deployed = deploy(checked_config(sites=chosen))
    (opt_in,) = deployed.of_kind("AvailabilityZoneGroup")
    assert opt_in.inputs["groupName"] == "us-west-2-lax-1", "a Region's own zones are never opted in to"
    assert (opt_in.inputs["optInStatus"], opt_in.inputs["region"]) == ("opted-in", "us-west-2")
    assert opt_in.retain_on_delete
    for zone in (LAX, LAX_B):
        assert opt_in.label in deployed.all_before(deployed.one("Subnet", f"{zone}-subnet"))
        assert opt_in.label in deployed.all_before(deployed.one("Eip", f"{zone}-1-address"))
    assert opt_in.label not in deployed.all_before(deployed.one("Eip", f"{HNL}-1-address")), "one that fails stops its own sites"


def test_only_the_opt_in_is_retained(deployed: Deployed) -> None:
    """`destroy` leaves nothing else behind."""
    assert not [each.label for each in deployed if each.retain_on_delete]


# Firewall


def rules(deployed: Deployed, zone: str) -> list[tuple[str, int, int, str]]:
    """(source, first port, last port, protocol) of every ingress rule of a site."""
    group = f"id-of-{zone}-firewall"
    found = deployed.of_kind("SecurityGroupIngressRule", securityGroupId=group)
    return sorted(
        (
            each.inputs.get("cidrIpv4") or each.inputs["prefixListId"],
            each.inputs["fromPort"],
            each.inputs["toPort"],
            each.inputs["ipProtocol"],
        )
        for each in found
    )


ACCESS = {"clientCidrs": ["0.0.0.0/0", "93.184.0.0/16"], "sshCidrs": ["93.184.216.35/32", "93.184.216.36/32"]}


def test_one_rule_for_each_source_and_none_wider() -> None:
    deployed = deploy(checked_config(access=ACCESS, endpoint={"port": 9000}))
    for zone in (REGION_ZONE, LAX):
        assert rules(deployed, zone) == [
            ("0.0.0.0/0", 9000, 9000, "tcp"),
            ("93.184.0.0/16", 9000, 9000, "tcp"),
            ("93.184.216.35/32", 22, 22, "tcp"),
            ("93.184.216.36/32", 22, 22, "tcp"),
            ("pl-checkers-us-west-2", 8999, 9000, "tcp"),
        ]


def test_each_rule_has_one_source(deployed: Deployed) -> None:
    for each in deployed.of_kind("SecurityGroupIngressRule"):
        sources = [key for key in ("cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId") if each.inputs.get(key)]
        assert len(sources) == 1


def test_ssh_is_never_open_to_the_world(deployed: Deployed) -> None:
    for each in deployed.of_kind("SecurityGroupIngressRule"):
        assert not (each.inputs["fromPort"] <= 22 <= each.inputs["toPort"] and each.inputs.get("cidrIpv4") == "0.0.0.0/0")


def test_health_checkers_of_the_own_region_come_in_only_where_routed() -> None:
    assert rules(two_regions(), BOSTON)[-1][0] == "pl-checkers-us-east-1"
    assert rules(two_regions(), LAX)[-1][0] == "pl-checkers-us-west-2"
    assert not [source for source, *_ in rules(unrouted(), LAX) if source.startswith("pl-")]


def test_way_out_is_written(deployed: Deployed) -> None:
    """The provider takes AWS's own allow-all away."""
    assert len(deployed.of_kind("SecurityGroupEgressRule", cidrIpv4="0.0.0.0/0", ipProtocol="-1")) == len(
        deployed.of_kind("Subnet")
    )
    for group in deployed.of_kind("SecurityGroup"):
        assert not group.inputs.get("ingress")
        assert not group.inputs.get("egress")


# Instances


def test_instances_of_every_replica(deployed: Deployed) -> None:
    for instance in deployed.of_kind("Instance"):
        zone, _, _ = instance.name.removesuffix("-host").rpartition("-")
        inputs = instance.inputs
        assert inputs["instanceType"] == "g4dn.2xlarge"
        assert inputs["subnetId"] == f"id-of-{zone}-subnet"
        assert inputs["vpcSecurityGroupIds"] == [f"id-of-{zone}-firewall"]
        assert inputs["keyName"] == f"key-name-of-{zone}-key"
        assert inputs["ami"] == "ami-0newest00"


def test_metadata_service_wants_a_token_and_answers_containers_not(deployed: Deployed) -> None:
    for instance in deployed.of_kind("Instance"):
        assert instance.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }


def test_root_volume_is_encrypted_and_of_a_type_that_the_zone_has() -> None:
    volumes = {each.name: each.inputs["rootBlockDevice"] for each in three_sites().of_kind("Instance")}
    assert {volume["encrypted"] for volume in volumes.values()} == {True}
    assert {volume["deleteOnTermination"] for volume in volumes.values()} == {True}
    assert {volume["volumeSize"] for volume in volumes.values()} == {100}
    assert {name: volume["volumeType"] for name, volume in volumes.items()} == {
        f"{REGION_ZONE}-1-host": "gp3",
        f"{LAX}-1-host": "gp2",
        f"{HNL}-1-host": "gp2",
    }


def test_settings_of_a_site_reach_its_instance() -> None:
    chosen = [{"zone": LAX, "instanceType": "g5.4xlarge", "volumeType": "gp3", "volumeGib": 250}]
    inputs = deploy(checked_config(sites=chosen)).one("Instance", f"{LAX}-1-host").inputs
    assert inputs["instanceType"] == "g5.4xlarge"
    assert (inputs["rootBlockDevice"]["volumeType"], inputs["rootBlockDevice"]["volumeSize"]) == ("gp3", 250)


def test_what_is_reserved_is_one_for_each_host_which_is_launched_after_it() -> None:
    """Open: a host is bound to nothing, and one that runs already is taken in."""
    deployed = two_regions()
    assert deployed.names("CapacityReservation") == [f"{LAX}-1-reservation", f"{LAX}-2-reservation"]
    for each in deployed.of_kind("CapacityReservation"):
        asked = {key: each.inputs[key] for key in ("availabilityZone", "instanceType", "instanceCount", "instanceMatchCriteria")}
        assert list(asked.values()) == [LAX, "g4dn.2xlarge", 1, "open"]
        host = deployed.one("Instance", each.name.replace("-reservation", "-host"))
        assert each.label in host.depends_on
        assert f"Subnet {LAX}-subnet" in each.depends_on, "the zone may need the opt-in, after which the subnet comes"
    assert three_sites().of_kind("CapacityReservation") == []


def test_looked_up_ami_never_replaces_a_running_instance() -> None:
    for instance in three_sites().of_kind("Instance"):
        assert set(instance.ignore_changes) == {"ami", "userData"}


def test_pinned_ami_is_used_and_followed() -> None:
    chosen = sites(LAX, BOSTON)
    deployed = deploy(checked_config(sites=chosen, host={"amis": {"us-west-2": "ami-0123456789abcdef0"}}))
    pinned, looked_up = deployed.one("Instance", f"{LAX}-1-host"), deployed.one("Instance", f"{BOSTON}-1-host")
    assert (pinned.inputs["ami"], pinned.ignore_changes) == ("ami-0123456789abcdef0", ("userData",))
    assert (looked_up.inputs["ami"], set(looked_up.ignore_changes)) == ("ami-0newest00", {"ami", "userData"})


def test_replacement_deletes_first(deployed: Deployed) -> None:
    """Two GPUs of a zone at once are neither in the quota nor often in stock."""
    for kind in ("Instance", "EipAssociation"):
        assert {each.delete_before_replace for each in deployed.of_kind(kind)} == {True}


def test_user_data_installs_the_replicas_own_host_key_and_is_secret(deployed: Deployed) -> None:
    seen: set[str] = set()
    for instance in deployed.of_kind("Instance"):
        assert "userData" in instance.secret_inputs
        key = derive_host_key(HOST_KEY_SECRET, instance.name.removesuffix("-host"))
        assert yaml.safe_load(instance.inputs["userData"])["ssh_keys"]["ed25519_public"] == key.public
        seen.add(key.public)
    assert len(seen) == len(deployed.of_kind("Instance")), "every host has a key of its own"


def test_key_pair_holds_the_deployers_public_key(deployed: Deployed) -> None:
    assert {each.inputs["publicKey"] for each in deployed.of_kind("KeyPair")} == {deployer_public_key(deployer_key())}


# Addresses


def test_addresses_carry_the_border_group_that_aws_named(deployed: Deployed) -> None:
    """Never one made up from the zone's name."""
    for address in deployed.of_kind("Eip"):
        zone = address.name.rpartition("-")[0].rpartition("-")[0]
        subnet = deployed.one("Subnet", f"{zone}-subnet")
        group = zone[:-1]
        assert subnet.inputs["availabilityZone"] == zone
        assert (address.inputs["domain"], address.inputs["networkBorderGroup"]) == ("vpc", f"border-of-{group}")
        assert f"InternetGateway {address.inputs['region']}-gateway" in deployed.all_before(address)


def test_address_is_associated_with_its_instance(deployed: Deployed) -> None:
    for each in deployed.of_kind("EipAssociation"):
        name = each.name.removesuffix("-association")
        assert each.inputs["allocationId"] == f"id-of-{name}-address"
        assert each.inputs["instanceId"] == f"id-of-{name}-host"


# Commands


def commands(deployed: Deployed, replica: str) -> list[Registered]:
    """The commands of a replica in the order of their registration."""
    return [each for each in deployed.of_kind("Command") if each.name.rpartition("-")[0] == replica]


def test_first_command_waits_for_all_that_makes_the_host_reachable() -> None:
    first = commands(three_sites(), f"{LAX}-1")[0]
    assert three_sites().all_before(first) >= {
        "InternetGateway us-west-2-gateway",
        "Route us-west-2-internet",
        f"RouteTableAssociation {LAX}-routes",
        f"EipAssociation {LAX}-1-association",
        f"SecurityGroupEgressRule {LAX}-egress",
        *(each.label for each in three_sites().of_kind("SecurityGroupIngressRule", securityGroupId=f"id-of-{LAX}-firewall")),
    }


def test_commands_follow_one_another(deployed: Deployed) -> None:
    for server in deployed.names("InferenceServer"):
        steps = commands(deployed, server)
        assert len(steps) == 6
        assert steps[0].name == f"{server}-scripts"
        assert steps[-1].name == f"{server}-ready"
        for before, after in pairwise(steps):
            assert before.label in after.depends_on


def test_commands_go_with_their_instance(deployed: Deployed) -> None:
    for each in deployed.of_kind("Command"):
        replica = each.name.rpartition("-")[0]
        assert each.deleted_with == f"Instance {replica}-host"
        assert not each.inputs.get("delete")


def test_command_text_holds_the_instance(deployed: Deployed) -> None:
    for each in deployed.of_kind("Command"):
        assert f"id-of-{each.name.rpartition('-')[0]}-host" in each.inputs["create"]


def test_commands_lean_on_no_fine_print(deployed: Deployed) -> None:
    """One text that changes; neither triggers nor variables, which sshd may refuse."""
    for each in deployed.of_kind("Command"):
        assert each.inputs["addPreviousOutputInEnv"] is False
        for key in ("triggers", "environment", "update"):
            assert not each.inputs.get(key)


def test_connection_is_secret_and_verifies_the_host(deployed: Deployed) -> None:
    for each in deployed.of_kind("Command"):
        replica = each.name.rpartition("-")[0]
        connection = each.inputs["connection"]
        assert "connection" in each.secret_inputs
        assert connection["host"] == address_of(f"{replica}-address"), "the address that stays when the instance is replaced"
        assert connection["user"] == "ec2-user"
        assert connection["privateKey"] == deployer_key()
        assert connection["hostKey"] == derive_host_key(HOST_KEY_SECRET, replica).public
        assert connection["dialErrorLimit"] == dial_attempts(600)
        assert 0 < connection["perDialTimeout"] <= 15


def test_token_travels_on_stdin_of_one_step_only(deployed: Deployed) -> None:
    for each in deployed.of_kind("Command"):
        stdin = each.inputs.get("stdin")
        if each.name.endswith("-weights"):
            assert stdin == f"{TOKEN}\n"
            assert "stdin" in each.secret_inputs
        else:
            assert TOKEN not in str(stdin)


def test_what_a_step_that_was_given_secrets_writes_is_secret() -> None:
    """The official command plugin shows it in clear, whatever came on standard input."""
    deployed = deploy(checked_config(apiKey="k" * 32, sites=sites(LAX)))
    for each in deployed.of_kind("Command"):
        is_given_secrets = "stdin" in each.secret_inputs
        assert is_given_secrets == each.name.endswith(("-weights", "-proxy"))
        assert each.secret_outputs == {"connection"} | ({"stdout", "stderr"} if is_given_secrets else set())


def test_step_that_reads_the_token_gets_a_line_also_without_one() -> None:
    deployed = deploy(checked_config(huggingFaceToken="", sites=sites(LAX)))
    assert deployed.one("Command", f"{LAX}-1-weights").inputs["stdin"] == "\n"


def test_secrets_stand_nowhere_in_clear(deployed: Deployed) -> None:
    words = [TOKEN, HOST_KEY_SECRET, *deployer_key().splitlines()[1:-1]]
    for each in deployed:
        shown = str({key: value for key, value in each.inputs.items() if key not in each.secret_inputs})
        for host in deployed.names("InferenceServer"):
            private = derive_host_key(HOST_KEY_SECRET, host).private.splitlines()[1]
            assert private not in shown
        for word in words:
            assert word not in shown, each.label
    assert not [word for word in words if word in str(deployed.outputs)]


# Routing


def test_health_check_asks_each_replica() -> None:
    deployed = deploy(checked_config(endpoint={"port": 9000}, routing={
        "domain": "llm.acme.dev", "hostedZone": "acme.dev", "healthIntervalSeconds": 10, "healthFailureThreshold": 5,
    }))  # fmt: skip
    checks = deployed.of_kind("HealthCheck")
    assert len(checks) == 2
    for check in checks:
        replica = check.name.removeprefix("routing-health-")
        assert check.inputs["ipAddress"] == address_of(f"{replica}-address")
        assert (check.inputs["type"], check.inputs["port"], check.inputs["resourcePath"]) == ("HTTP", 8999, "/health")
        assert (check.inputs["requestInterval"], check.inputs["failureThreshold"]) == (10, 5)
        assert f"Command {replica}-ready" in check.depends_on, "a new check counts as healthy"


def records(deployed: Deployed) -> dict[str, Registered]:
    return {each.name.removeprefix("routing-"): each for each in deployed.of_kind("Record")}


def test_tree_of_records() -> None:
    found = {key: (each.inputs["name"], each.inputs.get("setIdentifier")) for key, each in records(two_regions()).items()}
    domain = "llm.edge.acme.dev"
    assert {key: name for key, name in found.items() if not key.startswith("site-")} == {
        f"leaf-{REGION_ZONE}-1": (f"region.us-west-2.{domain}", f"{REGION_ZONE}-1"),
        f"leaf-{REGION_ZONE}-2": (f"region.us-west-2.{domain}", f"{REGION_ZONE}-2"),
        f"leaf-{LAX}-1": (f"lax-1.us-west-2.{domain}", f"{LAX}-1"),
        f"leaf-{LAX}-2": (f"lax-1.us-west-2.{domain}", f"{LAX}-2"),
        f"leaf-{LAX_B}-1": (f"lax-1.us-west-2.{domain}", f"{LAX_B}-1"),
        f"leaf-{BOSTON}-1": (f"bos-1.us-east-1.{domain}", f"{BOSTON}-1"),
        "group-us-west-2": (f"us-west-2.{domain}", "us-west-2"),
        "group-us-west-2-lax-1": (f"us-west-2.{domain}", "us-west-2-lax-1"),
        "group-us-east-1-bos-1": (f"us-east-1.{domain}", "us-east-1-bos-1"),
        "region-us-west-2": (f"latency.{domain}", "us-west-2"),
        "region-us-east-1": (f"latency.{domain}", "us-east-1"),
        "service": (domain, None),
    }


def test_leaves_hold_an_address_and_a_health_check() -> None:
    leaves = {key: each for key, each in records(two_regions()).items() if key.startswith(("leaf-", "site-"))}
    assert len(leaves) == 12
    for key, each in leaves.items():
        replica = key.partition("-")[2]
        assert each.inputs["records"] == [address_of(f"{replica}-address")]
        assert each.inputs["healthCheckId"] == f"id-of-routing-health-{replica}"
        assert 1 <= each.inputs["ttl"] <= 60
        assert each.inputs["weightedRoutingPolicies"] == [{"weight": 100}]
        assert not each.inputs.get("aliases")
        assert f"Command {replica}-ready" in each.depends_on, "a record is there only when its site serves"


def test_records_of_one_name_share_their_ttl() -> None:
    """Else Route 53 refuses the second."""
    assert len({each.inputs["ttl"] for each in records(two_regions()).values() if "ttl" in each.inputs}) == 1


def test_aliases_evaluate_their_targets_and_come_after_one_of_them() -> None:
    """One is enough for AWS; waiting for all would let a site that fails keep the others from being routed."""
    every = records(two_regions())
    for each in every.values():
        if not each.inputs.get("aliases"):
            continue
        (alias,) = each.inputs["aliases"]
        assert alias["evaluateTargetHealth"] is True
        assert alias["zoneId"] == each.inputs["zoneId"] == "Z0HOSTED"
        targets = {other.label for other in every.values() if other.inputs["name"] == alias["name"]}
        assert targets
        assert each.depends_on & targets
        for key in ("ttl", "records", "healthCheckId"):
            assert each.inputs.get(key) is None


def test_policies_of_the_levels() -> None:
    every = records(two_regions())
    assert every["region-us-east-1"].inputs["latencyRoutingPolicies"] == [{"region": "us-east-1"}]
    assert every["group-us-west-2"].inputs["geoproximityRoutingPolicy"] == {"awsRegion": "us-west-2"}
    assert every["group-us-west-2-lax-1"].inputs["geoproximityRoutingPolicy"] == {"localZoneGroup": "us-west-2-lax-1"}
    assert_one_policy_each(every)


def assert_one_policy_each(every: dict[str, Registered]) -> None:
    """But the domain's own record, which has none."""
    policies = [key for key in every["service"].inputs if "Routing" in key]
    assert not policies
    for key, each in every.items():
        assert each.inputs["type"] == "A"
        assert len([name for name in each.inputs if "RoutingPolic" in name and each.inputs[name]]) == (key != "service")


def routed(policy: str, zones: list[dict[str, Any]], drained: tuple[str, ...] = (), **more: Any) -> Deployed:
    routing = {"policy": policy, "domain": "llm.acme.dev", "hostedZone": "acme.dev", **more}
    return deploy(checked_config(sites=zones, drained=list(drained), routing=routing))


def test_flat_geoproximity_with_bias() -> None:
    every = records(routed("geoproximity", sites(REGION_ZONE, LAX, BOSTON), bias={"us-west-2-lax-1": 20, "us-west-2": -5}))
    assert {key: each.inputs["geoproximityRoutingPolicy"] for key, each in every.items() if key.startswith("flat-")} == {
        "flat-us-west-2": {"awsRegion": "us-west-2", "bias": -5},
        "flat-us-west-2-lax-1": {"localZoneGroup": "us-west-2-lax-1", "bias": 20},
        "flat-us-east-1-bos-1": {"localZoneGroup": "us-east-1-bos-1"},
    }
    assert {each.inputs["name"] for key, each in every.items() if key.startswith("flat-")} == {"geoproximity.llm.acme.dev"}
    assert not [each for each in every.values() if each.inputs.get("latencyRoutingPolicies")]
    assert_one_policy_each(every)


MAPPING = {"default": REGION_ZONE, "continents": {"EU": LAX}, "countries": {"NA": LAX}, "usStates": {"HI": HNL}}


def test_geolocation() -> None:
    every = records(routed("geolocation", sites(REGION_ZONE, LAX, HNL), geolocation=MAPPING))
    places = {key: each.inputs for key, each in every.items() if key.startswith("place-")}
    assert {key: (each["geolocationRoutingPolicies"], each["aliases"][0]["name"]) for key, each in places.items()} == {
        "place-default": ([{"country": "*"}], f"{REGION_ZONE}.geolocation.llm.acme.dev"),
        "place-continent-EU": ([{"continent": "EU"}], f"{LAX}.geolocation.llm.acme.dev"),
        "place-country-NA": ([{"country": "NA"}], f"{LAX}.geolocation.llm.acme.dev"),
        "place-us-state-HI": ([{"country": "US", "subdivision": "HI"}], f"{HNL}.geolocation.llm.acme.dev"),
    }
    hawaii = {
        each.inputs["aliases"][0]["name"]: each.inputs["weightedRoutingPolicies"]
        for each in every.values()
        if each.inputs["name"] == f"{HNL}.geolocation.llm.acme.dev"
    }
    assert hawaii == {f"{HNL}.sites.llm.acme.dev": [{"weight": 100}], "geoproximity.llm.acme.dev": [{"weight": 0}]}
    assert_one_policy_each(every)


@pytest.mark.parametrize(
    ("policy", "own"),
    [
        ("latency", {f"leaf-{HNL}-1", f"leaf-{HNL}-2", "group-us-west-2-hnl-1"}),
        ("geoproximity", {f"leaf-{HNL}-1", f"leaf-{HNL}-2", "flat-us-west-2-hnl-1"}),
        ("geolocation", {f"leaf-{HNL}-1", f"leaf-{HNL}-2", "flat-us-west-2-hnl-1", f"mapped-{HNL}"}),
    ],
)
def test_draining_takes_the_sites_own_records_and_nothing_else(policy: str, own: set[str]) -> None:
    """Host, server, health checks and the site's plain name stay as they are."""
    zones = [{"zone": REGION_ZONE}, {"zone": HNL, "replicas": 2}]
    mapping = {"default": REGION_ZONE, "usStates": {"HI": HNL}}
    before, drained = (routed(policy, zones, each, geolocation=mapping) for each in ((), (HNL,)))
    remaining = by_urn(drained)
    gone = by_urn(before).keys() - remaining.keys()
    assert {urn.rpartition("::")[2] for urn in gone} == {f"routing-{key}" for key in own}
    assert remaining == {urn: inputs for urn, inputs in by_urn(before).items() if urn not in gone}
    assert drained.outputs["routing"]["drained"] == [HNL]


def test_another_policy_changes_the_domains_own_record_in_place() -> None:
    """A new target of an alias is an UPSERT. All else of the new policy is new, beside the old."""
    plans = [
        by_urn(routed(policy, sites(REGION_ZONE, HNL), geolocation={"default": HNL}))
        for policy in ("latency", "geoproximity", "geolocation")
    ]
    for old, new in permutations(plans, 2):
        changed = [urn for urn in old.keys() & new.keys() if old[urn] != new[urn]]
        assert [urn.rpartition("::")[2] for urn in changed] == ["routing-service"]
        (one, other) = (plan[changed[0]] for plan in (old, new))
        assert one | {"aliases": other["aliases"]} == other


def test_hosted_zone_that_is_created() -> None:
    routing = {"domain": "llm.acme.dev", "hostedZone": "acme.dev", "createHostedZone": True}
    deployed = deploy(checked_config(routing=routing))
    zone = deployed.one("Zone", "routing-zone")
    assert (zone.inputs["name"], zone.inputs["forceDestroy"]) == ("acme.dev", False)
    assert zone.inputs["tags"]["edge-inference:stack"] == "dev"
    for record in deployed.of_kind("Record"):
        assert record.inputs["zoneId"] == "zone-id-of-routing-zone"
        assert "Zone routing-zone" in record.depends_on
    assert deployed.outputs["routing"]["hosted_zone_id"] == "zone-id-of-routing-zone"
    assert deployed.outputs["routing"]["name_servers"] == ["ns-1.acme.dev"]


def test_no_routing_makes_no_record_and_no_check() -> None:
    assert not [each for each in unrouted() if each.token.startswith("aws:route53/") or each.kind == "ServiceRouting"]


# What changes when a config changes


def by_urn(deployed: Deployed) -> dict[str, dict[str, Any]]:
    return {each.urn: each.inputs for each in custom(deployed)}


SMALL = [{"zone": REGION_ZONE}, {"zone": LAX}]


@cache
def two_sites() -> Deployed:
    return deploy(checked_config(sites=SMALL))


@pytest.mark.parametrize(
    ("larger", "own"),
    [
        ([*SMALL, {"zone": HNL}], "hnl"),
        ([{"zone": HNL}, *SMALL], "hnl"),
        ([*SMALL, {"zone": LAX_B}], LAX_B),
        ([*SMALL, {"zone": BOSTON}], "us-east-1"),
        ([{"zone": REGION_ZONE}, {"zone": LAX, "replicas": 2}], f"{LAX}-2"),
    ],
    ids=["a zone", "a zone in front", "a zone of the same group", "a second Region", "a replica"],
)
def test_what_comes_or_goes_changes_only_what_is_its_own(larger: list[dict[str, Any]], own: str) -> None:
    """Read backwards it says the same of what goes."""
    before, after = by_urn(two_sites()), by_urn(deploy(checked_config(sites=larger)))
    assert not before.keys() - after.keys()
    assert not [urn for urn in before if before[urn] != after[urn]]
    new = after.keys() - before.keys()
    assert new
    assert all(own in urn.rpartition("::")[2] for urn in new)


def test_same_config_registers_the_same() -> None:
    assert by_urn(deploy(checked_config(sites=SMALL))) == by_urn(two_sites())


def test_dev_and_prod_share_no_name_in_the_hosted_zone() -> None:
    names: list[set[str]] = []
    for stack in ("dev", "prod"):
        routing = {"domain": f"{stack}.acme.dev", "hostedZone": "acme.dev"}
        names.append({each.inputs["name"] for each in records(deploy(checked_config(stack, routing=routing))).values()})
    assert not names[0] & names[1]


def test_vllm_is_served_too() -> None:
    deployed = deploy(checked_config(server={"engine": "vllm"}, sites=sites(LAX)))
    assert "vllm/vllm-openai" in deployed.one("Command", f"{LAX}-1-ready").inputs["create"]
    assert deployed.outputs["sites"][LAX]["engine"] == "vllm"


def test_monitor_is_a_mock() -> None:
    """Nothing here talks to an engine."""
    assert isinstance(pulumi.runtime.settings.get_monitor(), RecordingMonitor)


class MadeBefore(Answers):
    """Hosts that stay have the user data that they were made with; or a provider tells only its hash, as before AWS's 6."""

    def __init__(self, secret: str, *, tells: bool = True) -> None:
        super().__init__()
        self._secret, self._tells = secret, tells

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        identity, outputs = super().new_resource(args)
        if args.typ == "aws:ec2/instance:Instance":
            first_boot = user_data(derive_host_key(self._secret, args.name.removesuffix("-host")))
            outputs["userData"] = first_boot if self._tells else "da39a3ee5e6b4b0d3255bfef95601890afd80709"
        return identity, outputs


@pytest.mark.parametrize(("tells", "secret"), [(True, "f" * 64), (False, HOST_KEY_SECRET)])
def test_a_host_is_known_by_the_key_that_it_was_made_with_whatever_the_secret_is_now(tells: bool, secret: str) -> None:
    deployed = deploy(checked_config(sites=sites(LAX)), MadeBefore("f" * 64, tells=tells))
    shown = derive_host_key(secret, f"{LAX}-1").public
    steps = deployed.of_kind("Command")
    assert len(steps) == 6
    for step in steps:
        assert step.inputs["connection"]["hostKey"] == shown
        assert str(step.inputs["create"]).splitlines()[1] == f"# host key {shown}"
        assert "create" not in step.secret_inputs, "the state's next reader has no key to it"
