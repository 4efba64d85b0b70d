"""Round trips from here, or from a host over SSH, to what answers publicly in each Region and Local Zone: `edge zones --measure`.

A Region answers at EC2's API, a Local Zone where AWS's list of reachable addresses names one. Left out: what a deployed site has,
which `edge bench` measures. Nothing of this was seen against AWS; the list's form is as others read it.
"""

import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, cast

from automation.errors import EdgeError
from geography.cities import City
from geography.places import REGIONS, ZONE_GROUPS

FORMAT = "edge round trips 1"
REACHABLE_URL = "http://ec2-reachability.amazonaws.com/prefixes-ipv4.json"
"""AWS serves it without TLS only."""
_PROBE = Path(__file__).with_name("tcp_probe.py")
_HTTPS, _HTTP = 443, 80
_TIMEOUT_SECONDS = 3.0
_AT_ONCE = 8

Targets = Mapping[str, tuple[str, int]]
"""By zone group or Region: host and TCP port."""


@dataclass(frozen=True)
class Measurement:
    """What was measured from one place."""

    city: City
    host: str
    """Of the vantage; `this machine` for here."""
    measured_at: str
    times_ms: Mapping[str, list[float]]
    silent: Mapping[str, str]
    """By zone group or Region, why there is no time."""
    targets: Targets

    def described(self) -> dict[str, Any]:
        """The file that `edge place` and `edge zones` take."""
        return {
            "format": FORMAT,
            "measured_at": self.measured_at,
            "method": "TCP handshakes, looked up before; medians with the least and the longest",
            "from": {
                "name": self.city.name,
                "host": self.host,
                "latitude": self.city.place.latitude,
                "longitude": self.city.place.longitude,
            },
            "round_trips": {
                group: {
                    "median_ms": round(median(times), 2),
                    "least_ms": round(min(times), 2),
                    "longest_ms": round(max(times), 2),
                    "samples": len(times),
                    "target": ":".join(map(str, self.targets[group])),
                }
                for group, times in self.times_ms.items()
            },
            "silent": dict(self.silent),
        }


def public_targets(say: Callable[[str], None], url: str = REACHABLE_URL) -> dict[str, tuple[str, int]]:
    """What answers publicly: every Region, and the Local Zones of AWS's list; without the list the Regions alone, told."""
    regions = {region: (f"ec2.{region}.amazonaws.com", _HTTPS) for region in REGIONS}
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a constant, or the tests' own server
            listed = _listed(json.load(answer))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        say(f"AWS's list of reachable addresses cannot be read ({error}): no Local Zone is measured")
        return regions
    zones = {group: (address, _HTTP) for group, address in listed.items() if group in ZONE_GROUPS}
    say(f"AWS's list names {len(zones)} of {len(ZONE_GROUPS)} Local Zone groups; the others are not measured")
    return regions | zones


def _listed(told: Any) -> dict[str, str]:
    """The first address of each group: `[{"us-east-1": {"3.80.0.0/12": "3.80.0.0"}}, …]`."""
    found: dict[str, str] = {}
    for entry in cast("list[dict[str, dict[str, str]]]", told):
        for group, addresses in entry.items():
            found.setdefault(group, next(iter(addresses.values())))
    return found


def measure(targets: Targets, city: City, *, via: str | None = None, rounds: int = 9) -> Measurement:
    """Measures all targets, from this machine or from a host as `ssh` takes it. EdgeError where nothing was measured."""
    plan = json.dumps({"targets": targets, "rounds": rounds, "at_once": _AT_ONCE, "timeout_seconds": _TIMEOUT_SECONDS})
    if via is None:
        command = [sys.executable, "-", plan]
    else:
        # `--`: a host that begins with a dash is no option.
        command = ["ssh", "-o", "BatchMode=yes", "-T", "--", via, f"python3 - {shlex.quote(plan)}"]
    try:
        done = subprocess.run(command, input=_PROBE.read_text("utf-8"), capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise EdgeError("there is no `ssh` on this machine, and --via needs it") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise EdgeError(f"nothing was measured from {via or 'here'}: {last}\n  -> try it by hand: ssh {via} python3 --version")
    found: dict[str, list[float] | str] = json.loads(done.stdout)
    times = {group: each for group, each in found.items() if isinstance(each, list)}
    silent = {group: each for group, each in found.items() if isinstance(each, str)}
    if not times:
        raise EdgeError(
            f"none of {len(targets)} targets answered: {next(iter(silent.values()), 'there is none')}\n"
            "  -> is TCP port 443 to the internet open from there?"
        )
    return Measurement(city, via or "this machine", datetime.now(UTC).isoformat(timespec="seconds"), times, silent, targets)
