"""Service Quotas: the quotas that this project's deployments run into.

moto knows some VPC defaults only. The values are the ones that this cloud enforces.
"""

from __future__ import annotations

import json
from typing import Any, cast

from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

from localcloud.api import faults

RULES_PER_GROUP = 60
"""Inbound and outbound rules of a security group, each direction (the VPC default quota)."""


def _quotas() -> dict[tuple[str, str], tuple[str, int, int]]:
    """Name, the account's value, and AWS's default."""
    return {
        ("ec2", "L-DB2E81BA"): ("Running On-Demand G and VT instances", faults.current.quota_vcpus, 0),
        ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", faults.current.quota_addresses, 5),
        ("vpc", "L-0EA8095F"): ("Inbound or outbound rules per security group", RULES_PER_GROUP, RULES_PER_GROUP),
    }


class QuotasBackend(ServiceQuotasBackend):
    """Service Quotas of one Region."""

    def get_service_quota(self, service_code: str, quota_code: str, *, default: bool = False) -> dict[str, Any]:
        """The account's value of a quota, or AWS's default; refuses the ones that are not modelled."""
        try:
            name, value, aws_default = _quotas()[service_code, quota_code]
        except KeyError:
            raise NoSuchResource from None
        arn = f"arn:aws:servicequotas:{self.region_name}:{self.account_id}:"
        return {
            "ServiceCode": service_code,
            "ServiceName": {"ec2": "Amazon Elastic Compute Cloud (Amazon EC2)"}.get(
                service_code, "Amazon Virtual Private Cloud (Amazon VPC)"
            ),
            "QuotaArn": f"{arn}{service_code}/{quota_code}",
            "QuotaCode": quota_code,
            "QuotaName": name,
            "Value": float(aws_default if default else value),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }


class QuotasResponses(ServiceQuotasResponse):
    """Service Quotas' requests."""

    def get_aws_default_service_quota(self) -> str:
        """What accounts start with: the provider asks for it where an account's own value was never changed."""
        asked = json.loads(self.body)
        backend = cast("QuotasBackend", self.backend)
        return json.dumps({"Quota": backend.get_service_quota(asked["ServiceCode"], asked["QuotaCode"], default=True)})
