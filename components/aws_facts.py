"""Asks AWS, through the provider's own lookups, for what preflight.py judges and the components need.

Works the same for plain `pulumi up`, for previews and on the local cloud. Nothing here decides anything.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import pulumi_aws as aws

from components.dns_plan import Replica, service_targets
from components.preflight import (
    AMI_PARAMETER,
    GPU_FAMILIES,
    HEALTH_CHECKERS_WEIGHT,
    AwsFacts,
    HostedZoneFacts,
    InstanceTypeFacts,
    RegionFacts,
    ZoneFacts,
)
from components.settings import HostSettings, RoutingSettings, SiteSettings, Validated
from components.tags import REPLICA_TAG, STACK_TAG

_Answer = TypeVar("_Answer")


class AwsSilentError(Exception):
    """AWS answers nothing at all: no credentials, no network, no local cloud."""


def ask_aws(validated: Validated) -> AwsFacts:
    """All that AWS can say about a config; AwsSilentError where it says nothing."""
    try:
        aws.get_caller_identity()
    except Exception as error:
        raise AwsSilentError(str(error)) from error
    regions = {region: _ask_region(region, sites, validated) for region, sites in validated.regions.items()}
    routing = validated.routing
    if routing is None or not routing.is_on:
        return AwsFacts(regions)
    try:
        zone = _hosted_zone(routing)
    except Exception as error:
        return AwsFacts(regions, hosted_zone_trouble=str(error).splitlines()[-1])
    return AwsFacts(regions, zone, foreign_records=_foreign_records(zone.id, str(routing.domain)))


def planned_replicas(sites: Sequence[SiteSettings]) -> list[Replica]:
    """Every replica that a config asks for."""
    return [Replica(site.parsed_zone, number) for site in sites for number in range(1, site.replicas + 1)]


def _ask_region(region: str, sites: list[SiteSettings], validated: Validated) -> RegionFacts:
    known = _answer(lambda: aws.get_availability_zones(all_availability_zones=True, region=region))
    if known is None:
        # No such Region, or one that the account has not enabled: then none of its zones exists for it.
        return RegionFacts(zones={})
    names = known.names
    types = {site.instance_type: _type_facts(site.instance_type, region) for site in sites}
    own = [
        aws.ec2.GetInstancesFilterArgs(name=f"tag:{STACK_TAG}", values=[validated.stack]),
        aws.ec2.GetInstancesFilterArgs(name=f"tag:{REPLICA_TAG}", values=[replica.key for replica in planned_replicas(sites)]),
    ]
    checkers = (
        _answer(lambda: aws.ec2.get_managed_prefix_list(name=f"com.amazonaws.{region}.route53-healthchecks", region=region))
        if validated.routing is None or validated.routing.is_on
        else None
    )
    return RegionFacts(
        zones={site.zone: _zone_facts(site.zone, region) for site in sites if site.zone in names},
        similar_zones=tuple(names),
        types=types,
        offered={name: _offering_zones(name, region) for name, facts in types.items() if facts},
        vcpu_quota=_quota("ec2", "L-DB2E81BA", region),
        vcpus_used=_answer(lambda: _vcpus_of_others(region, own)),
        address_quota=_quota("ec2", "L-0263D0A3", region),
        addresses_used=_answer(lambda: _addresses_of_others(region, own)),
        rules_per_group=_quota("vpc", "L-0EA8095F", region),
        health_checkers=checkers.id if checkers else None,
        health_checkers_weight=(checkers.max_entries or HEALTH_CHECKERS_WEIGHT) if checkers else 0,
        ami=_ami(region, validated.host),
    )


def _zone_facts(zone: str, region: str) -> ZoneFacts:
    # Zones that are not opted in are invisible without all_availability_zones.
    answer = aws.get_availability_zone(name=zone, all_availability_zones=True, region=region)
    return ZoneFacts(
        group=answer.group_name,
        border_group=answer.network_border_group,
        is_local=answer.zone_type == "local-zone",
        opted_in=answer.opt_in_status != "not-opted-in",
    )


def _type_facts(instance_type: str, region: str) -> InstanceTypeFacts | None:
    answer = _answer(lambda: aws.ec2.get_instance_type(instance_type=instance_type, region=region))
    if answer is None:
        return None
    return InstanceTypeFacts(
        vcpus=answer.default_vcpus,
        gpus=sum(gpu.count for gpu in answer.gpuses),
        gpu_mib=max((gpu.memory_size for gpu in answer.gpuses), default=0),
    )


def _offering_zones(instance_type: str, region: str) -> frozenset[str] | None:
    answer = _answer(
        lambda: aws.ec2.get_instance_type_offerings(
            location_type="availability-zone",
            filters=[aws.ec2.GetInstanceTypeOfferingsFilterArgs(name="instance-type", values=[instance_type])],
            region=region,
        )
    )
    return frozenset(answer.locations) if answer else None


def _vcpus_of_others(region: str, own: Sequence[aws.ec2.GetInstancesFilterArgs]) -> int:
    """VCPUs of the Region's running G and VT instances, without those of this stack's planned replicas."""

    def ids(filters: Sequence[aws.ec2.GetInstancesFilterArgs]) -> set[str]:
        of_family = aws.ec2.GetInstancesFilterArgs(name="instance-type", values=GPU_FAMILIES)
        answer = aws.ec2.get_instances(filters=[of_family, *filters], instance_state_names=["pending", "running"], region=region)
        return set(answer.ids)

    types = [aws.ec2.get_instance(instance_id=instance_id, region=region).instance_type for instance_id in ids([]) - ids(own)]
    vcpus = {name: aws.ec2.get_instance_type(instance_type=name, region=region).default_vcpus for name in set(types)}
    return sum(vcpus[name] for name in types)


def _addresses_of_others(region: str, own: Sequence[aws.ec2.GetInstancesFilterArgs]) -> int:
    filters = [aws.ec2.GetEipsFilterArgs(name=each.name, values=each.values) for each in own]
    everyone = aws.ec2.get_eips(region=region)
    mine = aws.ec2.get_eips(filters=filters, region=region)
    return len(set(everyone.allocation_ids) - set(mine.allocation_ids))


def _quota(service: str, code: str, region: str) -> float | None:
    answer = _answer(lambda: aws.servicequotas.get_service_quota(service_code=service, quota_code=code, region=region))
    return answer.value if answer else None


def _hosted_zone(routing: RoutingSettings) -> HostedZoneFacts:
    if routing.hosted_zone_id:
        zone = aws.route53.get_zone(zone_id=routing.hosted_zone_id)
    else:
        zone = aws.route53.get_zone(name=routing.hosted_zone, private_zone=False)
    return HostedZoneFacts(zone.zone_id, zone.name.removesuffix("."), bool(zone.private_zone), (zone.tags or {}).get(STACK_TAG))


def _foreign_records(zone_id: str, domain: str) -> tuple[str, ...]:
    """The address records of a name other than this program's one alias; none also where AWS does not say."""
    answer = _answer(lambda: aws.route53.get_records(zone_id=zone_id, name_regex=f"^{re.escape(domain)}\\.?$"))
    if answer is None:
        return ()
    found: set[str] = set()
    for record in answer.resource_record_sets:
        target = (record.alias_target.dns_name if record.alias_target else None) or ""
        is_ours = record.type == "A" and not record.set_identifier and target.removesuffix(".") in service_targets(domain)
        if record.type in {"A", "AAAA", "CNAME"} and not is_ours:
            found.add(f"{record.type}{' with a routing policy' if record.set_identifier else ''}")
    return tuple(sorted(found))


def _ami(region: str, host: HostSettings | None) -> str | None:
    pinned = host.amis.get(region) if host else None
    if pinned:
        by_id = [aws.ec2.GetAmiFilterArgs(name="image-id", values=[pinned])]
        return pinned if _answer(lambda: aws.ec2.get_ami(filters=by_id, region=region)) else None
    # insecure_value: the parameter's `value` is always a secret.
    answer = _answer(lambda: aws.ssm.get_parameter(name=AMI_PARAMETER, region=region))
    return answer.insecure_value if answer else None


def _answer(ask: Callable[[], _Answer]) -> _Answer | None:
    """What AWS answers, or None: a missing permission for a lookup must not keep a stack from being deployed."""
    try:
        return ask()
    except Exception:
        return None
