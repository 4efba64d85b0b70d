"""The keys of one world: made anew when it starts, and kept in a file that its owner alone can read.

They are all that tells the owner from whoever else can reach a port of this machine. Left out on purpose: several users.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

CONTROL_PREFIX = "/_localcloud/"
"""What is below it on the API's port is no service of AWS's, but the cloud's own."""
_PLACE = Path("world") / "keys.json"


@dataclass(frozen=True, repr=False)
class Keys:
    """What opens a world: AWS's API, the control interface, and the stand-in for the Hugging Face Hub."""

    access_key_id: str
    secret_access_key: str
    control_token: str
    hub_token: str
    """A part of the Hub's address: the Hub's clients need the Authorization header for their own token."""

    def hub_endpoint(self, url: str) -> str:
        """HF_ENDPOINT of the cloud whose API is at `url`."""
        return f"{url}{CONTROL_PREFIX}hub/{self.hub_token}"


def make() -> Keys:
    """New keys. The access key's id looks like none of AWS's, so that nobody takes it for a real account's."""
    return Keys(f"LOCALCLOUD{secrets.token_hex(5).upper()}", *(secrets.token_urlsafe(30) for _ in range(3)))


def store(directory: Path, keys: Keys) -> None:
    """Keep the keys of the world below a cloud's directory; the folder `world` is there already."""
    with open(directory / _PLACE, "x", encoding="utf-8", opener=for_owner_alone) as file:
        json.dump(asdict(keys), file)


def load(directory: Path) -> Keys:
    """The keys of the world below a cloud's directory; raises OSError, ValueError or TypeError where there are none."""
    return Keys(**json.loads((directory / _PLACE).read_text(encoding="utf-8")))


def for_owner_alone(path: str, flags: int) -> int:
    """Opens a file for writing, and lets nobody else at it; an `opener` of `open`."""
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)  # one that is there already may be from before this was so
    return descriptor
