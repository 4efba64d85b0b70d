"""Sums up the proxy's log: requests, bytes sent and seconds taken, by the name of the API key. Prints it as one line of JSON.

`usage.py SINCE`: only requests that ended after that time, in seconds since 1970; 0: all that the log has. Leaves out what was
not let in, and the door's questions: they are not in the log (components/proxy.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

PROXY = "edge-inference-proxy"


def summed(lines: Iterable[str], since: float) -> dict[str, Any]:
    """When the log begins, and what it has of each key; the name of requests that no key was asked for is empty."""
    begins: float | None = None
    keys: dict[str, dict[str, float]] = {}
    for line in lines:
        try:
            found: Any = json.loads(line)
            ended, name = float(found["ts"]), str(found["user_id"])
            size, seconds = int(found["size"]), float(found["duration"])
        except (ValueError, TypeError, KeyError):
            continue  # what Caddy says of itself
        begins = ended if begins is None else min(begins, ended)
        if ended <= since:
            continue
        key = keys.setdefault(name, {"requests": 0, "bytes": 0, "seconds": 0.0, "last": ended})
        key["requests"] += 1
        key["bytes"] += size
        key["seconds"] = round(key["seconds"] + seconds, 6)
        key["last"] = max(key["last"], ended)
    return {"begins": begins, "keys": keys}


def main(since: str) -> int:
    """Print the sums; the exit status of `docker logs`, which fails where there is no proxy."""
    with subprocess.Popen(
        ["docker", "logs", PROXY], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
    ) as log:
        found = summed(log.stdout or (), float(since))
    print(json.dumps(found))
    return log.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
