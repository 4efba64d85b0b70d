"""Certificates by ACME: Pebble validates by DNS what is written through Route 53's API, on the local cloud's own DNS server."""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from pebble import Pebble, running

from automation.account.acme_client import Authority, Obtained, new_key, obtain
from automation.account.challenge_records import ChallengeRecords, asked
from automation.errors import EdgeError
from components.certificates import certificate_faults
from localcloud.api import route53_state
from localcloud.dns.server import DnsServer

from .conftest import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DOMAIN = "llm.acme.dev"
NAMES = (DOMAIN, f"*.sites.{DOMAIN}")
CHALLENGES = (f"_acme-challenge.{DOMAIN}", f"_acme-challenge.sites.{DOMAIN}")
ACCOUNT = new_key()


@pytest.fixture(scope="module")
def dns_port() -> Iterator[int]:
    """The local cloud's DNS server over the state that its API has."""
    server = DnsServer(route53_state.hosted_zones, route53_state.is_healthy)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.open(0), loop).result(10)
    yield server.port
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="module", params=[0, 60], ids=["all nonces", "nonces rejected"])
def pebble(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dns_port: int) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble"), dns_port, rejected_nonces_percent=request.param) as pebble:
        yield pebble


class Zone:
    """A hosted zone, and what was said."""

    def __init__(self, route53: Any, dns_port: int, name: str = "acme.dev") -> None:
        self.route53, self.said = route53, list[str]()
        created = route53.create_hosted_zone(Name=name, CallerReference=name)
        self.id = created["HostedZone"]["Id"].removeprefix("/hostedzone/")
        self.server = "127.0.0.1", dns_port
        self.records = ChallengeRecords(route53, self.id, [self.server], self.said.append)

    def put(self, name: str, kind: str, *values: str) -> None:
        record = {"Name": name, "Type": kind, "TTL": 300, "ResourceRecords": [{"Value": value} for value in values]}
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        self.route53.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch=batch)

    def texts(self) -> dict[str, list[str]]:
        found = self.route53.list_resource_record_sets(HostedZoneId=self.id)["ResourceRecordSets"]
        return {
            each["Name"].rstrip("."): [value["Value"] for value in each["ResourceRecords"]]
            for each in found
            if each["Type"] == "TXT"
        }

    def ask_caa(self, name: str) -> Sequence[str] | None:
        return asked(name, "CAA", self.server)

    def obtain(self, pebble: Pebble, account_key: str = ACCOUNT, email: str | None = None) -> Obtained:
        chosen = Authority(pebble.directory, pebble.ca_bundle, email)
        return obtain(chosen, account_key, NAMES, self.records, ask_caa=self.ask_caa, say=self.said.append)


@pytest.fixture
def zone(client: Client, dns_port: int) -> Zone:
    return Zone(client("route53", "us-east-1"), dns_port)


def verify(chain: str, pebble: Pebble, name: str) -> None:
    """As a client does that trusts Pebble's root alone."""
    leaf, *between = x509.load_pem_x509_certificates(chain.encode())
    store = Store(x509.load_pem_x509_certificates(pebble.root.encode()))
    PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name)).verify(leaf, between)


def test_from_nothing_to_a_certificate_for_all_names_and_again(zone: Zone, pebble: Pebble) -> None:
    account = new_key()
    first = zone.obtain(pebble, account, email="edge@acme.dev")
    sites = (DOMAIN, f"us-west-2a.sites.{DOMAIN}", f"us-west-2-lax-1a.sites.{DOMAIN}")
    for name in sites:
        verify(first.chain, pebble, name)
    assert not list(certificate_faults(first.chain, first.private_key, sites, datetime.now(UTC)))
    assert zone.texts() == {}
    second = zone.obtain(pebble, account)
    assert second.private_key != first.private_key
    assert (first.terms_of_service, second.terms_of_service) == ("data:text/plain,Do%20what%20thou%20wilt", None)
    assert not list(certificate_faults(second.chain, second.private_key, sites, datetime.now(UTC)))


def test_what_others_have_at_the_same_names_stays(zone: Zone, pebble: Pebble) -> None:
    others: Mapping[str, list[str]] = {CHALLENGES[0]: ['"another one"', '"a third"'], f"text.{DOMAIN}": ['"v=spf1 -all"']}
    for name, values in others.items():
        zone.put(name, "TXT", *values)
    zone.obtain(pebble)
    assert zone.texts() == others


class Wrong(ChallengeRecords):
    """Writes something else than what was asked for."""

    def add(self, values: Mapping[str, Sequence[str]]) -> None:
        super().add({name: ["x" * 43] for name in values})

    def remove(self, values: Mapping[str, Sequence[str]]) -> None:
        super().remove({name: ["x" * 43] for name in values})


def test_a_failed_validation_tells_the_cause_and_leaves_nothing(zone: Zone, pebble: Pebble) -> None:
    zone.records = Wrong(zone.route53, zone.id, [zone.server], zone.said.append)
    with pytest.raises(EdgeError, match="found no proof of the names") as caught:
        zone.obtain(pebble)
    wrong = [f"(TXT of {challenge}): Correct value not found for DNS challenge (unauthorized)" for challenge in CHALLENGES]
    assert any(text in str(caught.value) for text in wrong), "the first that fails may end the order"
    assert zone.texts() == {}
