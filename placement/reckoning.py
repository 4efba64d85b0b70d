"""A question as arrays, users by candidates: round trips, times to first token, and who gets which site.

Left out: choosing the sites (exact.py) and saying what follows (answer.py).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.dns_plan import EVERYWHERE_ELSE, Geolocation
from components.zones import parse_zone
from geography.codes import COUNTRIES, US_STATES
from geography.latency import round_trip_of_km_ms
from placement.order import Distances, Ranks, ranks
from placement.question import ROUND_TRIPS, Question
from placement.world import PlacementError, User

Floats = NDArray[np.float64]
Chosen = NDArray[np.int64]
"""For each user, the number of the candidate that serves them."""


class Reckoning:
    """What a question comes to, before any site is chosen."""

    def __init__(self, question: Question) -> None:
        if not question.users:
            raise PlacementError("nobody is to be served\n  -> --users FILE.csv or --countries US,CA")
        if not question.candidates:
            raise PlacementError(
                "no zone is left that is known to sell the type\n  -> another --type, fewer limits, or --with-unknown"
            )
        self.question = question
        self.distances = Distances(question.users)
        weights = np.array([user.weight for user in question.users])
        self.weights: Floats = weights / weights.sum()
        self.ranks: Ranks = ranks(question.policy, [parse_zone(each.zone) for each in question.candidates], self.distances)
        kilometres = np.stack([self.distances.to(each.place) for each in question.candidates], axis=1)
        self.round_trips: Floats = round_trip_of_km_ms(kilometres)
        self.is_measured: NDArray[np.bool_] = np.zeros(kilometres.shape, dtype=bool)
        self._put_measured()
        self.generation: Floats = np.array([question.generation.by_type_ms[each.instance_type] for each in question.candidates])
        self.inside: NDArray[np.bool_] = self.ttft() <= question.slo_ms
        self.places: list[Geolocation] = list(dict.fromkeys(map(place_of, question.users)))
        """For `geolocation`: whom a record can name."""
        number = {place: index for index, place in enumerate(self.places)}
        self.place_of_user: Chosen = np.array([number[place_of(user)] for user in question.users])

    def _put_measured(self) -> None:
        groups = {each.group: index for index, each in enumerate(self.question.candidates)}
        for row, user in enumerate(self.question.users):
            for group, column in groups.items() if self.question.measured else ():
                if found := self.question.measured.get((user.label, group)):
                    self.round_trips[row, column] = found.median_ms
                    self.is_measured[row, column] = True

    def ttft(self, factor: float = 1.0) -> Floats:
        """Times to first token in ms, users by candidates; `factor` stretches the round trips."""
        return ROUND_TRIPS[self.question.connection] * factor * self.round_trips + self.generation

    def assigned(self, sites: Sequence[int], order: Ranks | None = None) -> Chosen:
        """Who gets which of the sites while all are healthy."""
        chosen = np.array(sites)
        if self.question.policy == "geolocation" and order is None:
            served = self.mapped(sites)
            return np.array([served[place] for place in self.places])[self.place_of_user]
        return chosen[np.argmin((self.ranks if order is None else order)[:, chosen], axis=1)]

    def mapped(self, sites: Sequence[int]) -> dict[Geolocation, int]:
        """For `geolocation`: which site each place is best mapped to; by the users inside the limit, then by the mean."""
        inside, means = self._by_place()
        found: dict[Geolocation, int] = {}
        for row, place in enumerate(self.places):
            found[place] = max(sites, key=lambda site: (round(float(inside[row, site]), 12), -float(means[row, site])))
        if EVERYWHERE_ELSE not in found:
            found[EVERYWHERE_ELSE] = max(sites, key=lambda site: (float(inside[:, site].sum()), -float(means[:, site].sum())))
        return found

    def _by_place(self) -> tuple[Floats, Floats]:
        """By place and candidate: the share of all users who are inside the limit, and their weighted time to first token."""
        if not hasattr(self, "_places_by_candidate"):
            shape = (len(self.places), len(self.question.candidates))
            inside, means = np.zeros(shape), np.zeros(shape)
            np.add.at(inside, self.place_of_user, self.weights[:, None] * self.inside)
            np.add.at(means, self.place_of_user, self.weights[:, None] * self.ttft())
            self._places_by_candidate = (inside, means)
        return self._places_by_candidate

    def inside_by_place(self) -> Floats:
        """By place and candidate, the share of all users who are inside the limit there."""
        return self._by_place()[0]

    def share_inside(self, chosen: Chosen, factor: float = 1.0) -> float:
        """Of the users, who get their first token within the limit."""
        inside = self.inside if factor == 1.0 else self.ttft(factor) <= self.question.slo_ms
        return float(self.weights @ inside[np.arange(len(chosen)), chosen])

    def share_of(self, sites: Sequence[int]) -> float:
        """The same for a set of sites; 0 for none."""
        return self.share_inside(self.assigned(sites)) if len(sites) else 0.0

    def quantiles(self, chosen: Chosen, shares: Sequence[float], only: NDArray[np.bool_] | None = None) -> list[float]:
        """Times to first token that these shares of the users do not exceed; of all users, or of some."""
        rows = np.arange(len(chosen)) if only is None else np.flatnonzero(only)
        times, weights = self.ttft()[rows, chosen[rows]], self.weights[rows]
        order = np.argsort(times, kind="stable")
        reached: Any = np.cumsum(weights[order]) / weights.sum()
        return [float(times[order][min(int(np.searchsorted(reached, share - 1e-12)), len(times) - 1)]) for share in shares]


def place_of(user: User) -> Geolocation:
    """The narrowest place that a geolocation record can name for a user."""
    if user.country == "US" and user.us_state in US_STATES:
        return Geolocation(us_state=user.us_state)
    return Geolocation(country=user.country) if user.country in COUNTRIES else EVERYWHERE_ELSE
