"""EC2 as this cloud answers it: moto's, with the rules of the `ec2_*` modules on top."""

# moto is partly untyped, and its parts use each other's state:
# pyright: reportIncompatibleMethodOverride=false, reportPrivateUsage=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.core.exceptions import ServiceException

from localcloud.api.ec2_addresses import AddressResponses, AddressRules
from localcloud.api.ec2_launches import LaunchResponses, LaunchRules
from localcloud.api.ec2_networks import NetworkResponses, NetworkRules
from localcloud.api.ec2_reservations import ReservationResponses
from localcloud.api.ec2_zones import ZoneResponses
from localcloud.api.images import ImageData, ImageResponses

if TYPE_CHECKING:
    from moto.core.common_types import TYPE_RESPONSE
    from moto.core.responses import ActionResult

STATUSES = {
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "UnauthorizedOperation": 403,
}
"""Codes that EC2 answers with another status than 400: SDKs try again after a 5xx, as they do on AWS."""


class Ec2Backend(AddressRules, LaunchRules, NetworkRules, ImageData):
    """One Region of EC2."""

    def __init__(self, region_name: str, account_id: str) -> None:
        self.launches: dict[str, tuple[str, ActionResult]] = {}
        self.reservations_of_capacity = {}
        super().__init__(region_name, account_id)


class Ec2Responses(ZoneResponses, AddressResponses, LaunchResponses, NetworkResponses, ReservationResponses, ImageResponses):
    """EC2's requests."""

    def serialized(self, action_result: ActionResult) -> TYPE_RESPONSE:
        """Give errors their status; moto answers every one with 400."""
        status, headers, body = super().serialized(action_result)
        if isinstance(action_result.result, ServiceException):
            status = STATUSES.get(action_result.result.code, status)
        return status, headers, body
