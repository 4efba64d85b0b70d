"""When the AWS credentials at hand end, as far as they say.

Leaves out the end of a single sign-on: only its own cache knows that.
"""

from datetime import datetime
from typing import Any, cast

_RENEWED = {"iam-role", "container-role"}
"""What botocore calls the credentials that a machine or container gets anew by itself."""


def credentials_expire() -> datetime | None:
    """When they end; None where they do not say, where they do not end, and where nobody has to renew them."""
    import boto3  # pyright: ignore[reportMissingTypeStubs]
    from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

    try:
        found = cast("Any", boto3).Session().get_credentials()
        if found is None or found.method in _RENEWED:
            return None
        # Those that are fetched when they are needed know it afterwards.
        found.get_frozen_credentials()
    except (BotoCoreError, ClientError):
        return None
    expires = cast("dict[str, object]", vars(found)).get("_expiry_time")
    return expires if isinstance(expires, datetime) else None
