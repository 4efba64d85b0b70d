"""What GPU instances cost: geography's dated table of on-demand Linux list prices, summed. Unknown is None, never a guess.

Leaves out volumes, public addresses, traffic, taxes, discounts and Route 53. It proves no capacity, and not which zone of a group
sells. AWS's own price files are public, but hundreds of MB a Region: nobody is asked at run time.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from geography.gpu_offers import age_words, price_table

AS_OF = price_table().as_of
SOURCE = price_table().source
DATED = f"{AS_OF}{age_words(AS_OF)}"
"""The table's day, and that it is old where it is."""
NOT_INCLUDED = "volumes, public addresses, traffic, Route 53, taxes"
FOOTNOTE = f"list prices of {DATED}, without {NOT_INCLUDED}"
HOURS_PER_MONTH = 730
"""As AWS's own calculator reckons."""
TABLE = {"hours_per_month": HOURS_PER_MONTH, "as_of": AS_OF, "source": SOURCE, "not_included": NOT_INCLUDED}
"""Where the numbers are from, as `--json` prints it."""


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
    return price_table().dollars_per_hour.get(zone[:-1], {}).get(instance_type)


def priced_types(group: str) -> dict[str, float]:
    """The instance types with a price in a zone group, or in a Region's own zones; none where the table has nothing."""
    return dict(price_table().dollars_per_hour.get(group, {}))


def hourly_price(instances: Iterable[tuple[str, str]]) -> HourlyPrice:
    """What instances, given as (zone, instance type), cost together."""
    listed = [(zone, kind, instance_price(zone, kind)) for zone, kind in instances]
    unknown = tuple(dict.fromkeys(f"{kind} in {zone}" for zone, kind, price in listed if price is None))
    return HourlyPrice(sum(price for *_, price in listed if price is not None), len(listed), unknown)


def price_change(before: Instances, after: Instances) -> PriceChange:
    """What it costs that one set of instances takes the place of another."""
    now, then = Counter(before), Counter(after)
    return PriceChange(*map(hourly_price, (before, after, (then - now).elements(), (now - then).elements())))
