"""How long an environment's certificate is still good: the one that its config holds, and those that its replicas show.

They differ between a renewal and the next `up`. Leaves out obtaining one: certificate.py, which imports far more.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from automation.sites.endpoints import Ports, shown_certificate
from automation.sites.serving import Replica, replicas
from components.certificates import Facts, facts_of
from components.settings import PROJECT, StackConfig

SOON_DAYS = 30
"""From when on it is to be renewed: a third of what Let's Encrypt's are good for."""
Finding = tuple[Literal["ok", "warning", "failed", "unknown"], str, str | None]
"""State, what was found, and the command to run."""


@dataclass(frozen=True)
class Age:
    """A certificate's time left, at the moment it was looked at."""

    expires: datetime
    days_left: int
    """Negative once it has expired."""

    @property
    def words(self) -> str:
        """`61 days left, until 2027-01-30`."""
        if self.days_left < 0:
            return f"expired on {self.expires:%Y-%m-%d}"
        return f"{self.days_left} days left, until {self.expires:%Y-%m-%d}"


def age_of(facts: Facts) -> Age:
    """How long a certificate is good from now on."""
    return Age(facts.expires, facts.days_left(datetime.now(UTC)))


def stored(config: StackConfig) -> Facts | None:
    """What the config's certificate says; None where it has none, or nobody has decrypted it."""
    return facts_of(config.values.get(f"{PROJECT}:tlsCertificate") or "")


def shown(environment: Ports, outputs: Mapping[str, Any]) -> dict[str, Facts]:
    """What the certificates say that replicas show at this moment, of those that show one to this machine."""
    asked = [each for each in replicas(outputs) if each.address and (each.url or "").startswith("https:")]

    def ask(replica: Replica) -> Facts | None:
        chain = shown_certificate(environment, str(replica.address), str(replica.url))
        return facts_of(chain) if chain else None

    with ThreadPoolExecutor(16) as pool:
        found = zip(asked, pool.map(ask, asked), strict=True)
        return {replica.key: facts for replica, facts in found if facts}


def judged(kept: Facts, shown_facts: Mapping[str, Facts], arguments: str) -> Finding:
    """A certificate that fits, by its time left; and replicas that still show another."""
    age, renew = age_of(kept), f"edge certificate {arguments}"
    finding = f"{age.words}, signed by {kept.issuer}"
    if age.days_left < SOON_DAYS:
        return "warning", finding, f"{renew}   # then: edge up {arguments}"
    others = {key: each for key, each in shown_facts.items() if each.serial != kept.serial}
    if others:
        soonest = age_of(min(others.values(), key=lambda each: each.expires))
        finding += f"; not yet brought to {', '.join(others)}, which shows another ({soonest.words})"
        return "failed" if soonest.days_left < 0 else "warning", finding, f"edge up {arguments}"
    return "ok", finding, None
