"""When the AWS credentials at hand end, as far as they say.

Known of those in the environment alone (AWS_CREDENTIAL_EXPIRATION). All others are renewed by who uses them, until something else
ends: a single sign-on, a token file; nobody here knows when.
"""

from datetime import datetime
from typing import Any, cast

_IN_ENVIRONMENT = "env"
"""What botocore calls credentials of environment variables."""


def credentials_expire() -> datetime | None:
    """When they end; None where that is unknown, and where they do not end."""
    import boto3  # pyright: ignore[reportMissingTypeStubs]
    from botocore.exceptions import BotoCoreError  # pyright: ignore[reportMissingTypeStubs]

    try:
        found = cast("Any", boto3).Session().get_credentials()
    except BotoCoreError:
        return None
    if found is None or found.method != _IN_ENVIRONMENT:
        return None
    expires = cast("dict[str, object]", vars(found)).get("_expiry_time")
    return expires if isinstance(expires, datetime) else None
