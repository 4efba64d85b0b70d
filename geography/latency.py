"""How long the network takes between two places: one documented model, used to simulate and to estimate, never to claim.

Left out on purpose: jitter, loss, queues, bandwidth, and what a particular carrier's route does.
"""

from geography.places import Kilometres, Place, distance_km

_FIBRE_KM_PER_MS = 204.0
"""Light in fibre: c / 1.468, the group index of standard single-mode fibre (ITU-T G.652)."""
_PATH_FACTOR = 1.5
"""Length of the route over the great circle. ITU-T G.826 and Y.1541 reckon a cable at 1.25 (long) to 1.5 (short) of it; 1.5
throughout, since packets do not take the shortest cable either."""
_ACCESS_MS = 5.0
"""The client's access network and the metropolitan networks at both ends, there and back. A choice: with it a client in the
zone's own city has the single-digit milliseconds that AWS speaks of, Los Angeles to Oregon 24 ms, Honolulu to Oregon 70 ms."""


def round_trip_ms(one: Place, other: Place) -> float:
    """Estimated network round trip in milliseconds: fibre along the great circle times the path factor, plus the access part."""
    return round_trip_of_km_ms(distance_km(one, other))


def round_trip_of_km_ms(kilometres: Kilometres) -> Kilometres:
    """The same over a great-circle distance, or an array of them."""
    return kilometres * (2 * _PATH_FACTOR / _FIBRE_KM_PER_MS) + _ACCESS_MS
