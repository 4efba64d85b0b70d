"""The door of a host, which answers Route 53's health checkers: its port, and how patient it is. remote/door.py is its program.

Pure. Leaves out the checks themselves: routing.py makes them.
"""

from math import ceil

_NOT_THE_DOORS = frozenset({22, 8080, 8081})
"""SSH's, and those that a server behind a proxy has on the host's loopback (proxy.py)."""
_LARGEST_PORT = 65535
_SLOW_GPU_FLOPS = 10e12
"""Half of what a T4 really does in float16 (20 to 30 of 65 TFLOPS, an estimate: no T4 was measured)."""
_PARAMETERS = 8e9
"""Of the largest model whose weights fit a T4 in float16, or nearly."""
_SHORTEST_GRACE_SECONDS = 5
_ROUTE53_MARGIN_SECONDS = 10
"""Until a verdict has reached all of Route 53's name servers (not documented; an estimate)."""


def door_port(serving_port: int) -> int:
    """The door's TCP port, next to the serving port: one firewall rule covers both, and a prefix list counts once."""
    near = (serving_port - 1, serving_port + 1)
    return next(port for port in near if 0 < port <= _LARGEST_PORT and port not in _NOT_THE_DOORS)


def longest_prefill_seconds(max_input_tokens: int) -> int:
    """How long the health path may hang: TGI's waits behind a forward pass, and may then make one of its own.

    2 FLOP for each parameter and token; a batch's prompts together are hardly longer than the longest one that is accepted.
    """
    flop = 2 * _PARAMETERS * max_input_tokens
    return max(_SHORTEST_GRACE_SECONDS, ceil(2 * flop / _SLOW_GPU_FLOPS))


def notice_seconds(interval_seconds: int, failure_threshold: int) -> int:
    """After so long the slowest checker has seen a change as often as it must, and DNS answers by it.

    The threshold holds in both directions (Developer Guide, determining the health).
    """
    return interval_seconds * failure_threshold + _ROUTE53_MARGIN_SECONDS
