"""Carries the questions of aws_facts.py to AWS through the engine's own AWS provider.

So they work the same for plain `pulumi up`, for previews and on the local cloud, with the credentials of the run. Leaves out
which questions are asked.
"""

# ruff: noqa: D102 - what each lookup asks is said by Lookups

import re
from collections.abc import Sequence

import pulumi_aws as aws

from components.aws_facts import (
    AwsFacts,
    Filters,
    HostedZoneFacts,
    InstanceTypeFacts,
    Lookups,
    NamedRecord,
    PrefixList,
    ZoneFacts,
    gather,
)
from components.settings import Validated
from components.tags import STACK_TAG


class AwsSilentError(Exception):
    """AWS answers nothing at all: no credentials, no network, no local cloud."""


def ask_aws(validated: Validated) -> AwsFacts:
    """All that AWS can say about a config; AwsSilentError where it says nothing."""
    try:
        aws.get_caller_identity()
    except Exception as error:
        raise AwsSilentError(str(error)) from error
    return gather(validated, ProviderLookups())


class ProviderLookups(Lookups):
    """The provider's data sources."""

    def zone_names(self, region: str) -> Sequence[str]:
        return aws.get_availability_zones(all_availability_zones=True, region=region).names

    def zone(self, region: str, name: str) -> ZoneFacts:
        answer = aws.get_availability_zone(name=name, all_availability_zones=True, region=region)
        return ZoneFacts(
            group=answer.group_name,
            border_group=answer.network_border_group,
            is_local=answer.zone_type == "local-zone",
            opted_in=answer.opt_in_status != "not-opted-in",
        )

    def instance_type(self, region: str, name: str) -> InstanceTypeFacts:
        answer = aws.ec2.get_instance_type(instance_type=name, region=region)
        return InstanceTypeFacts(
            vcpus=answer.default_vcpus,
            gpus=sum(gpu.count for gpu in answer.gpuses),
            gpu_mib=max((gpu.memory_size for gpu in answer.gpuses), default=0),
            gpu=next((gpu.name for gpu in answer.gpuses), ""),
            architectures=frozenset(answer.supported_architectures),
        )

    def offering_zones(self, region: str, filters: Filters) -> frozenset[str]:
        wanted = [aws.ec2.GetInstanceTypeOfferingsFilterArgs(name=name, values=[*values]) for name, values in filters.items()]
        answer = aws.ec2.get_instance_type_offerings(location_type="availability-zone", filters=wanted, region=region)
        return frozenset(answer.locations)

    def instances(self, region: str, filters: Filters, states: Sequence[str]) -> frozenset[str]:
        wanted = [aws.ec2.GetInstancesFilterArgs(name=name, values=[*values]) for name, values in filters.items()]
        return frozenset(aws.ec2.get_instances(filters=wanted, instance_state_names=[*states], region=region).ids)

    def type_of_instance(self, region: str, instance_id: str) -> str:
        return aws.ec2.get_instance(instance_id=instance_id, region=region).instance_type

    def addresses(self, region: str, filters: Filters) -> frozenset[str]:
        wanted = [aws.ec2.GetEipsFilterArgs(name=name, values=[*values]) for name, values in filters.items()]
        return frozenset(aws.ec2.get_eips(filters=wanted, region=region).allocation_ids)

    def quota(self, region: str, service: str, code: str) -> float:
        return aws.servicequotas.get_service_quota(service_code=service, quota_code=code, region=region).value

    def prefix_list(self, region: str, name: str) -> PrefixList:
        answer = aws.ec2.get_managed_prefix_list(name=name, region=region)
        return PrefixList(answer.id, answer.max_entries)

    def image(self, region: str, filters: Filters, *, include_deprecated: bool) -> str:
        wanted = [aws.ec2.GetAmiFilterArgs(name=name, values=[*values]) for name, values in filters.items()]
        return aws.ec2.get_ami(filters=wanted, include_deprecated=include_deprecated, region=region).image_id

    def parameter(self, region: str, name: str) -> str:
        # insecure_value: the parameter's `value` is always a secret.
        return aws.ssm.get_parameter(name=name, region=region).insecure_value

    def hosted_zone_by_id(self, zone_id: str) -> HostedZoneFacts:
        return _hosted_zone(aws.route53.get_zone(zone_id=zone_id))

    def public_hosted_zone(self, name: str) -> HostedZoneFacts:
        return _hosted_zone(aws.route53.get_zone(name=name, private_zone=False))

    def records(self, zone_id: str, name: str) -> Sequence[NamedRecord]:
        answer = aws.route53.get_records(zone_id=zone_id, name_regex=f"^{re.escape(name)}\\.?$")
        return [
            NamedRecord(each.type, each.set_identifier, (each.alias_target.dns_name if each.alias_target else None) or "")
            for each in answer.resource_record_sets
        ]


def _hosted_zone(zone: aws.route53.GetZoneResult) -> HostedZoneFacts:
    return HostedZoneFacts(zone.zone_id, zone.name.removesuffix("."), bool(zone.private_zone), (zone.tags or {}).get(STACK_TAG))
