"""Which GPU types a zone group sells and for how much, as far as public sources say: priced, none, or unknown. Never a guess.

The prices are gpu_prices.csv, a dated snapshot that tools/refresh_gpu_prices.py makes anew. Left out: stock, quotas, and which
zone of a group sells a type.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("gpu_prices.csv")
OLD_AFTER_DAYS = 180
"""A figure older than this is called old where it is shown."""


@dataclass(frozen=True)
class PriceTable:
    """On-demand Linux list prices."""

    as_of: str
    source: str
    dollars_per_hour: dict[str, dict[str, float]]
    """By zone group (of a Region's own zones: the Region) and instance type."""


NO_GPU: dict[str, str] = {
    "ap-southeast-1-han-1": "2026-06-19, AWS weekly roundup of 2026-06-22: CPU types only",
    "eu-central-1-ath-1": "2026-07-20, AWS's announcement: c7i, m7i, r7i",
    "eu-central-1-ist-1": "2026-05-20, AWS's announcement: c7i, m7i, r7i",
}
"""Zone groups that were said to sell no GPU, with the day and by whom; AWS may have added some since."""


@cache
def price_table() -> PriceTable:
    """The checked-in table."""
    head: dict[str, str] = {}
    prices: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for line in _FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            key, _, value = line.removeprefix("# ").partition(": ")
            head[key] = value
        elif not line.startswith("group,"):
            group, instance_type, dollars = line.split(",")
            prices[group][instance_type] = float(dollars)
    return PriceTable(head["as_of"], head["source"], dict(prices))


def no_gpu(group: str) -> str | None:
    """By whom and when a zone group was said to sell no GPU; None where nobody said so."""
    said = NO_GPU.get(group)
    return said and f"{said}{age_words(said.partition(',')[0])}"


def age_words(day: str, today: date | None = None) -> str:
    """`, old: 313 days` for a figure of a day that is long ago; empty for a newer one."""
    days = ((today or date.today()) - date.fromisoformat(day)).days  # noqa: DTZ011 - days, wherever this machine is
    return f", old: {days} days" if days > OLD_AFTER_DAYS else ""
