"""The address by which the internet knows this machine: whether it may call sites and hosts depends on it."""

from ipaddress import IPv4Address

import requests

OWN_ADDRESS_URL = "https://checkip.amazonaws.com"
_ADDRESS_SECONDS = 3.0


def own_address() -> IPv4Address | None:
    """None where the service that tells it cannot be reached."""
    try:
        answer = requests.get(OWN_ADDRESS_URL, timeout=_ADDRESS_SECONDS)
        return IPv4Address(answer.text.strip()) if answer.ok else None
    except (requests.RequestException, ValueError):
        return None
