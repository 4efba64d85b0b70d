"""The demo's people and words. The story itself is tests/engine/test_docs.py's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import pytest

from automation.demo.lines import SiteLines
from automation.demo.people import Outcome, People, Service, source_in
from automation.engine.events import Diagnostic, SiteProgress
from automation.errors import EdgeError
from geography.cities import CITIES, local_network

if TYPE_CHECKING:
    from collections.abc import Iterator

CITY_NAMES = ("Portland", "Honolulu")


class Told:
    """Stands in for Service: its name leads where a test says, and its answers fail there where a test says."""

    ttl_seconds = 0.01

    def __init__(self) -> None:
        self.zone, self.dead = "here", set[str]()

    def address_for(self, source: str) -> str:
        assert source
        return self.zone

    def ask(self, city: str, address: str, source: str, tokens: int) -> Outcome:
        assert source
        assert tokens
        return Outcome(city, address, time.monotonic(), "words", 5.0, "cut" if address in self.dead else "")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def people(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[People]:
    monkeypatch.setattr("automation.demo.people._PAUSE_SECONDS", 0.001)
    with People(cast("Service", told), CITY_NAMES, 2, 4) as those:
        yield those


def test_people_follow_the_name_when_it_leads_elsewhere(told: Told, people: People) -> None:
    people.wait("first answers", lambda: all(people.last(city, 2) for city in CITY_NAMES), 10)
    told.zone = "there"
    people.wait("the move", lambda: {each.zone for each in people.last("Honolulu", 2)} == {"there"}, 10)


def test_what_is_lost_is_counted_and_not_asked_again(told: Told, people: People) -> None:
    told.dead.add("here")
    begun = time.monotonic()
    people.wait("a loss", lambda: any(each.failure for each in people.since(begun, "Portland")), 10)
    told.dead.clear()
    people.wait("a whole answer", lambda: not people.last("Portland", 1)[0].failure, 10)


def test_what_does_not_happen_is_an_error_with_a_line_to_run(people: People) -> None:
    with pytest.raises(EdgeError, match=r"the return did not happen within 0.01 s\n  -> edge status local"):
        people.wait("the return", lambda: False, 0.01)


def test_the_newest_are_none_while_there_are_fewer(told: Told) -> None:
    assert People(cast("Service", told), CITY_NAMES, 1, 4).last("Honolulu", 1) == []


def test_people_of_a_city_have_addresses_of_their_own_there() -> None:
    addresses = {source_in("Honolulu", number) for number in range(3)}
    assert len(addresses) == 3
    assert all(address.startswith(str(local_network(CITIES["Honolulu"])).rpartition(".")[0]) for address in addresses)


def test_a_line_when_a_site_serves_and_for_a_warning_alone() -> None:
    said: list[str] = []
    with SiteLines(said.append, {"us-west-2a": "Oregon"}) as lines:
        lines.on_event(SiteProgress(seconds=3.2, zone="us-west-2a", stage="host", state="done"))
        lines.on_event(SiteProgress(seconds=9.6, zone="us-west-2a", stage="healthy", state="done"))
        lines.on_event(Diagnostic(seconds=10, severity="info", text="noise"))
        lines.on_event(Diagnostic(seconds=11, severity="warning", text="no licence\n"))
    assert said == ["    10 s  Oregon serves (us-west-2a)", "   warning: no licence"]
