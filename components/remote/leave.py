"""leave.py SPEC: leads users away from this host and lets its server finish what it is at, before the host itself is stopped,
replaced or removed. `leave.py back` takes that back.

Part of serve.py's transaction too. The door stays closed: `back`, a change of the server or a boot opens it. SPEC is JSON:
`busy_metrics` and `rollout`. Its last line is JSON: whether health checkers led users elsewhere, and how many requests are cut.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import door_unit
import probe
from common import RUN, StepError, pause, say
from listener import Config

_AT_ONCE = RUN / "at-once"
"""Put there by `edge up --all-at-once` for the changes of one run."""
_AT_ONCE_SECONDS = 7200.0


def close_and_wait(door: Config, busy_metrics: list[str], rollout: dict[str, Any]) -> tuple[bool, int]:
    """Have users led elsewhere while the server serves on, then let it finish; whether they were led, and how many are cut."""
    door_unit.close()
    protected = door_unit.is_asked()
    if protected:
        pause(rollout["notice_seconds"] + rollout["ttl_seconds"], "health checkers and resolvers to lead users elsewhere")
    else:
        say("not protected: no health checker has asked this host in the last minutes; only what it is at is waited for")
    return protected, probe.wait_until_idle(door, busy_metrics, rollout["drain_seconds"])


def is_at_once() -> bool:
    """Whether the person has asked not to wait for anything."""
    try:
        return time.time() - _AT_ONCE.stat().st_mtime < _AT_ONCE_SECONDS
    except FileNotFoundError:
        return False


def main(argument: str) -> int:
    """Leave, or come back; its exit status."""
    if argument == "back":
        door_unit.reopen()
        return 0
    spec = json.loads(argument)
    door = door_unit.installed()
    if door is None:
        print(json.dumps({"protected": False, "cut": 0}))
        return 0
    try:
        protected, cut = close_and_wait(door, spec["busy_metrics"], spec["rollout"])
    except (StepError, OSError) as error:
        print(f"leave failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"protected": protected, "cut": cut}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
