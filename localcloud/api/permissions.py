"""The permissions of who calls the API: a policy in IAM's own form, judged by its actions.

Until one is set everything is allowed. Left out on purpose: resources, conditions and denials; a policy that has denials is
refused, and the other two are taken as if they always fit.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, cast

from moto.core.exceptions import ServiceException
from moto.core.models import DEFAULT_ACCOUNT_ID

PRINCIPAL = f"arn:aws:sts::{DEFAULT_ACCOUNT_ID}:user/moto"
"""Who calls, as moto's GetCallerIdentity names it."""
ALWAYS_ALLOWED = ("sts:GetCallerIdentity",)
"""AWS asks for no permission there."""
CODES = {"ec2": "UnauthorizedOperation", "ssm": "AccessDeniedException", "servicequotas": "AccessDeniedException"}
"""How a service calls a refusal; the others AccessDenied."""

_allowed: list[str] | None = None


class Denied(ServiceException):
    """A call that the policy does not allow, in the service's own words."""

    def __init__(self, service: str, action: str) -> None:
        self.code = CODES.get(service, "AccessDenied")
        words = f"User: {PRINCIPAL} is not authorized to perform: {action} because no identity-based policy allows the action"
        super().__init__(f"You are not authorized to perform this operation. {words}" if service == "ec2" else words)


def set_policy(policy: dict[str, object]) -> None:
    """Allow what an IAM policy document allows; an empty one allows everything again. ValueError for what is not judged."""
    global _allowed  # noqa: PLW0603 - one account, as the rest of moto's state
    if not policy:
        _allowed = None
        return
    statements: object = policy.get("Statement")
    if not isinstance(statements, list):
        raise ValueError("a policy has a list of statements")  # noqa: TRY004 - told as a bad request
    allowed: list[str] = []
    for statement in cast("list[dict[str, Any]]", statements):
        actions: str | list[str] = statement["Action"]
        if statement["Effect"] != "Allow":
            raise ValueError("of statements the local cloud judges those with Effect Allow alone")
        allowed += [actions] if isinstance(actions, str) else actions
    _allowed = allowed


def check(service: str, action: str, *, with_tags: bool) -> None:
    """Denied unless the policy allows an action; EC2 wants CreateTags as well from a request that tags what it makes."""
    needed = [f"{service}:{action}", *(["ec2:CreateTags"] if with_tags and service == "ec2" else [])]
    for each in needed:
        if _allowed is not None and each not in ALWAYS_ALLOWED and not any(fnmatchcase(each, pattern) for pattern in _allowed):
            raise Denied(service, each)
