"""What GPU instances cost: a dated table of on-demand Linux list prices, US dollars per hour. Unknown is None, never a guess.

Leaves out volumes, public addresses, traffic, taxes, discounts and Route 53. It proves no capacity, and not which zone of a group
sells. AWS has no price API for Local Zones that an account without the pricing permission could ask.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

AS_OF = "2026-01-21"
SOURCE = "AWS price list by way of instances.vantage.sh, as collected in the public repository tsaol/aws-gpu"
NOT_INCLUDED = "volumes, public addresses, traffic, Route 53, taxes"
FOOTNOTE = f"list prices of {AS_OF}, without {NOT_INCLUDED}"
HOURS_PER_MONTH = 730
"""As AWS's own calculator reckons."""
TABLE = {"hours_per_month": HOURS_PER_MONTH, "as_of": AS_OF, "source": SOURCE, "not_included": NOT_INCLUDED}
"""Where the numbers are from, as `--json` prints it."""

_G4DN_2XLARGE = "g4dn.2xlarge"
_G4DN_4XLARGE = "g4dn.4xlarge"
_DOLLARS_PER_HOUR: dict[str, dict[str, float]] = {
    "us-west-2": {_G4DN_2XLARGE: 0.752, "g5.2xlarge": 1.212, "g6.2xlarge": 0.978, "g6e.2xlarge": 2.242},
    "us-west-2-lax-1": {
        "g4dn.xlarge": 0.631,
        _G4DN_2XLARGE: 0.902,
        "g4dn.metal": 9.389,
        "g5.4xlarge": 2.231,
        "g5.8xlarge": 3.363,
    },
    "us-west-2-hnl-1": {_G4DN_2XLARGE: 1.241, _G4DN_4XLARGE: 1.987},
    "us-west-2-den-1": {_G4DN_2XLARGE: 1.015, _G4DN_4XLARGE: 1.625},
    "us-west-2-las-1": {_G4DN_2XLARGE: 1.015},
    "us-west-2-pdx-1": {_G4DN_2XLARGE: 1.015},
    "us-west-2-phx-1": {_G4DN_2XLARGE: 1.015, _G4DN_4XLARGE: 1.625},
    "us-west-2-sea-1": {_G4DN_2XLARGE: 1.015},
    **{
        f"us-east-1-{city}-1": {_G4DN_2XLARGE: 1.015, _G4DN_4XLARGE: 1.625} for city in ("bos", "chi", "dfw", "iah", "nyc", "phl")
    },
    **{f"us-east-1-{city}-1": {_G4DN_2XLARGE: 1.015} for city in ("atl", "mci", "mia", "msp")},
    "us-east-1-qro-1": {_G4DN_2XLARGE: 1.09, _G4DN_4XLARGE: 1.746},
    "us-east-1-scl-1": {_G4DN_2XLARGE: 1.47},
    "us-east-1-lim-1": {_G4DN_2XLARGE: 1.725},
    "af-south-1-los-1": {_G4DN_2XLARGE: 1.247},
    "ap-northeast-1-tpe-1": {_G4DN_2XLARGE: 1.371},
    "ap-south-1-ccu-1": {_G4DN_2XLARGE: 1.2},
    "ap-south-1-del-1": {_G4DN_2XLARGE: 1.2},
    "ap-southeast-1-bkk-1": {_G4DN_2XLARGE: 1.578},
    "ap-southeast-1-mnl-1": {_G4DN_2XLARGE: 1.368},
    "ap-southeast-2-akl-1": {_G4DN_2XLARGE: 1.418},
    "ap-southeast-2-per-1": {_G4DN_2XLARGE: 1.418},
    "eu-central-1-ham-1": {_G4DN_2XLARGE: 1.363},
    "eu-central-1-waw-1": {_G4DN_2XLARGE: 1.175},
    "eu-north-1-cph-1": {_G4DN_2XLARGE: 1.157},
    "eu-north-1-hel-1": {_G4DN_2XLARGE: 0.997},
    "me-south-1-mct-1": {_G4DN_2XLARGE: 1.153},
}
"""By zone group (of a Region's own zones: the Region) and instance type."""


@dataclass(frozen=True)
class HourlyPrice:
    """What some instances cost together, in dollars per hour."""

    dollars: float
    """Of the instances whose price is known."""
    instances: int
    unknown: tuple[str, ...]
    """`TYPE in ZONE` of the instances whose price is not known, each once."""

    def __str__(self) -> str:
        count = f"{self.instances} GPU instance{'' if self.instances == 1 else 's'}"
        if not self.instances:
            return "$0 per hour: no GPU instance"
        if self.unknown and not self.dollars:
            return f"price of {count} unknown ({', '.join(self.unknown)})"
        return f"{amounts(self.dollars)} for {count}{_unknown_words(self.unknown)}"

    def described(self) -> dict[str, Any]:
        """As `--json` prints it; the dollars are of the instances whose price is known."""
        return {"instances": self.instances, **_described(self.dollars, self.unknown)}


Instances = Sequence[tuple[str, str]]
"""Instances, each as (zone, instance type)."""


@dataclass(frozen=True)
class PriceChange:
    """What an environment costs now, and what it would cost after a plan."""

    before: HourlyPrice
    after: HourlyPrice
    comes: HourlyPrice
    """Of the instances that are not there now."""
    goes: HourlyPrice
    """Of those that are not wanted any more."""

    @property
    def dollars(self) -> float:
        """How much more per hour, of what comes and goes with a known price."""
        return self.comes.dollars - self.goes.dollars

    @property
    def unknown(self) -> tuple[str, ...]:
        """`TYPE in ZONE` of what comes or goes without a known price."""
        return tuple(dict.fromkeys(self.comes.unknown + self.goes.unknown))

    def __str__(self) -> str:
        if not self.comes.instances and not self.goes.instances:
            return "none, the same instances run now"
        if self.unknown and not self.comes.dollars and not self.goes.dollars:
            return f"unknown, since the price is of {', '.join(self.unknown)}"
        return f"{amounts(self.dollars, '+' if self.dollars >= 0 else '-')} against what runs now{_unknown_words(self.unknown)}"

    def described(self) -> dict[str, Any]:
        """As `edge plan --json` prints it."""
        return {
            "now": self.before.described(),
            "planned": self.after.described(),
            "change": _described(self.dollars, self.unknown),
            **TABLE,
        }


def amounts(dollars: float, sign: str = "") -> str:
    """`$0.752 per hour ($548.96 per month)`; with a sign before each amount, where one is given."""
    size = abs(dollars)
    return f"{sign}${size:.3f} per hour ({sign}${size * HOURS_PER_MONTH:.2f} per month)"


def _unknown_words(unknown: Sequence[str]) -> str:
    return f"; unknown for {', '.join(unknown)}" if unknown else ""


def _described(dollars: float, unknown: Sequence[str]) -> dict[str, Any]:
    per_month = round(dollars * HOURS_PER_MONTH, 2)
    return {"dollars_per_hour": round(dollars, 3), "dollars_per_month": per_month, "unknown": list(unknown)}


def instance_price(zone: str, instance_type: str) -> float | None:
    """Dollars per hour of one instance in a zone; None where the table does not have it."""
    # A zone's name is its group's, or its Region's, and a letter.
    return _DOLLARS_PER_HOUR.get(zone[:-1], {}).get(instance_type)


def priced_types(group: str) -> dict[str, float]:
    """The instance types with a price in a zone group, or in a Region's own zones; none where the table has nothing."""
    return dict(_DOLLARS_PER_HOUR.get(group, {}))


def hourly_price(instances: Iterable[tuple[str, str]]) -> HourlyPrice:
    """What instances, given as (zone, instance type), cost together."""
    listed = [(zone, kind, instance_price(zone, kind)) for zone, kind in instances]
    unknown = tuple(dict.fromkeys(f"{kind} in {zone}" for zone, kind, price in listed if price is None))
    return HourlyPrice(sum(price for *_, price in listed if price is not None), len(listed), unknown)


def price_change(before: Instances, after: Instances) -> PriceChange:
    """What it costs that one set of instances takes the place of another."""
    now, then = Counter(before), Counter(after)
    return PriceChange(*map(hourly_price, (before, after, (then - now).elements(), (now - then).elements())))
