"""Certificates by ACME: Pebble validates by DNS what is written through Route 53's API, on the local cloud's own DNS server."""

# boto3 has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import dns.rdataclass
import dns.rdatatype
import dns.resolver
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from dns.rdtypes.ANY.CAA import CAA
from hypothesis import given
from hypothesis import strategies as st
from pebble import Pebble, running

from automation.account import challenge_records
from automation.account.acme_client import Authority, Obtained, new_key, obtain
from automation.account.caa import Record, forbidding
from automation.account.challenge_records import ChallengeRecords, asked
from automation.account.keys import new_deployer_key
from automation.engine.advice import Commands
from automation.errors import EdgeError
from automation.paths import PROJECT_ROOT
from automation.sites import certificate
from components.certificates import certificate_faults
from components.settings import PROJECT, StackConfig, validate
from localcloud.api import route53_state
from localcloud.dns.server import DnsServer

from .conftest import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from automation.engine.deployed import Deployed

DOMAIN = "llm.acme.dev"
NAMES = (DOMAIN, f"*.sites.{DOMAIN}")
CHALLENGES = (f"_acme-challenge.{DOMAIN}", f"_acme-challenge.sites.{DOMAIN}")
ACCOUNT, DEPLOYER_KEY = new_key(), new_deployer_key()


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


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, dns_port: int) -> Iterator[Pebble]:
    with running(tmp_path_factory.mktemp("pebble"), dns_port) as pebble:
        yield pebble


@pytest.fixture(scope="module")
def rejecting_pebble(tmp_path_factory: pytest.TempPathFactory, dns_port: int) -> Iterator[Pebble]:
    """Rejects the nonces of most requests, also of those that are tried again."""
    with running(tmp_path_factory.mktemp("rejecting"), dns_port, rejected_nonces_percent=60) as pebble:
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


@pytest.mark.parametrize("fixture", ["pebble", "rejecting_pebble"])
def test_from_nothing_to_a_certificate_for_all_names_and_again(zone: Zone, request: pytest.FixtureRequest, fixture: str) -> None:
    pebble, account = request.getfixturevalue(fixture), new_key()
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


# Of an environment


class Edge:
    """What `renew` needs of an Environment: its config, its stack file, this hosted zone. The engine's place is a dictionary."""

    name, arguments, on_local_cloud = "prod", "prod", False

    def __init__(self, zone: Zone, client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.zone, self.aws_client, self.logs, self.say = zone, client, folder / "logs", zone.said.append
        self.commands = Commands("prod", is_rehearsal=False)
        self.secrets: dict[str, str] = {}
        self.routing: dict[str, Any] = {"domain": DOMAIN, "hostedZone": "acme.dev"}
        self.file = folder / "Pulumi.prod.yaml"
        self.file.write_text("config: {}\n")
        self.stack = SimpleNamespace(workspace=SimpleNamespace(work_dir=str(folder)))
        monkeypatch.setattr(certificate, "config_of", self.decrypted)
        monkeypatch.setattr(certificate, "set_secrets", self.store)
        monkeypatch.setattr(certificate, "_resolved_caa", lambda _name: ())  # pyright: ignore

    def store(self, _stack: object, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            self.secrets[key.partition(":")[2]] = value
            self.file.write_text(f"{self.file.read_text()}# {key}\n")

    def file_config(self) -> StackConfig:
        secrets = {"sshPrivateKey": DEPLOYER_KEY, "hostKeySecret": "0123456789abcdef" * 4, **self.secrets}
        sections = {
            "sites": [{"zone": "us-west-2a"}, {"zone": "us-west-2-lax-1a"}],
            "access": {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["93.184.216.35/32"]},
            "routing": self.routing,
            "endpoint": {"tls": True},
        }
        values = {**secrets, **{key: json.dumps(value) for key, value in sections.items()}}
        return StackConfig(
            "prod",
            {"aws:region": "us-west-2", **{f"{PROJECT}:{key}": value for key, value in values.items()}},
            frozenset(f"{PROJECT}:{key}" for key in secrets),
        )

    def decrypted(self, stack: object) -> StackConfig:
        assert stack is self.stack
        return self.file_config()

    def open(self, *, may_start: bool) -> SimpleNamespace:
        assert may_start
        return self.stack

    def engine_trouble(self, _doing: str) -> AbstractContextManager[None]:
        return nullcontext()

    def refuse_foreign_account(self, stack: object) -> None:
        assert stack is self.stack

    def dns_port(self) -> int:
        return self.zone.server[1]

    def renew(self, pebble: Pebble, days: int | None = None, *, server: str | None = None) -> certificate.Renewal:
        authority = Authority(server or pebble.directory, pebble.ca_bundle)
        return certificate.renew(cast("Deployed", self), authority, None if days is None else timedelta(days=days))


@pytest.fixture
def edge(zone: Zone, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Edge:
    return Edge(zone, client, tmp_path, monkeypatch)


def test_a_config_that_asks_for_tls_and_has_no_certificate_gets_one(edge: Edge, pebble: Pebble) -> None:
    (missing,) = validate(edge.file_config()).problems
    assert missing.fix == "edge certificate ENV"
    first = edge.renew(pebble, 30)
    assert (first.is_new, first.has_tls, first.stored_in) == (True, True, edge.file)
    assert validate(edge.file_config()).problems == ()
    assert edge.secrets.keys() == {"tlsCertificate", "tlsPrivateKey", "acmeAccount"}
    verify(edge.secrets["tlsCertificate"], pebble, f"us-west-2a.sites.{DOMAIN}")
    kept = dict(edge.secrets)
    assert (edge.renew(pebble, 30).is_new, edge.secrets) == (False, kept)
    second = edge.renew(pebble, 90)
    assert (second.is_new, second.facts.serial != first.facts.serial) == (True, True)
    assert edge.secrets["acmeAccount"] == kept["acmeAccount"]
    told = "\n".join(edge.zone.said)
    assert told.count("An account was made") == 1
    assert "PRIVATE" not in told


def test_a_good_certificate_is_another_where_its_server_or_the_names_are_others(edge: Edge, pebble: Pebble) -> None:
    edge.renew(pebble)
    edge.secrets["acmeAccount"] = json.dumps({**json.loads(edge.secrets["acmeAccount"]), "server": "https://staging/dir"})
    assert edge.renew(pebble, 30).is_new, "staging's is no good"
    assert not edge.renew(pebble, 30).is_new
    edge.routing["domain"] = "other.acme.dev"
    assert edge.renew(pebble, 30).names == ("other.acme.dev", "*.sites.other.acme.dev")


@pytest.mark.parametrize("account", ["no JSON", "[]", '{"key": "no key"}', json.dumps({"key": new_deployer_key()})])
def test_an_account_that_cannot_be_read_is_made_anew(edge: Edge, pebble: Pebble, account: str) -> None:
    edge.secrets["acmeAccount"] = account
    assert edge.renew(pebble).is_new
    assert json.loads(edge.secrets["acmeAccount"])["server"] == pebble.directory


def test_few_permissions_do(edge: Edge, pebble: Pebble, control: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    """Those that docs/how-to/permissions.md names for a scheduler."""
    policy: dict[str, Any] = json.loads((PROJECT_ROOT / "docs" / "operations" / "iam-policy.json").read_text())
    statements = {each["Sid"]: each for each in policy["Statement"] if each["Sid"] in {"Zones", "Challenges", "Changes"}}
    look = {"Effect": "Allow", "Action": ["route53:ListHostedZones"], "Resource": "*"}
    try:
        control("PUT", "policy", Version="2012-10-17", Statement=[look, *statements.values()])
        assert edge.renew(pebble).is_new
        del statements["Challenges"]
        control("PUT", "policy", Version="2012-10-17", Statement=[look, *statements.values()])
        with pytest.raises(EdgeError, match="lack the permission route53:ChangeResourceRecordSets"):
            edge.renew(pebble)
    finally:
        control("PUT", "policy")


def test_what_cannot_be_stored_whole_is_not_stored(edge: Edge, pebble: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    before = edge.file.read_text()

    def broken(stack: object, values: Mapping[str, str]) -> None:
        edge.store(stack, dict(list(values.items())[:1]))
        raise EdgeError("no room")

    monkeypatch.setattr(certificate, "set_secrets", broken)
    with pytest.raises(EdgeError, match="no room"):
        edge.renew(pebble)
    assert edge.file.read_text() == before
    assert edge.zone.texts() == {}


# What goes wrong


def test_caa_records_that_forbid_are_named_before_anything_is_changed(zone: Zone, pebble: Pebble) -> None:
    zone.put("acme.dev", "CAA", '0 issue "ca.example"', '0 iodef "mailto:edge@acme.dev"')
    with pytest.raises(EdgeError, match=r'acme\.dev CAA 0 issue "ca\.example"') as caught:
        zone.obtain(pebble)
    assert 'add this record, at acme.dev: CAA 0 issue "pebble.letsencrypt.org"' in str(caught.value)
    assert not zone.said
    zone.put("acme.dev", "CAA", '0 issue "ca.example"', '0 issue "pebble.letsencrypt.org; validationmethods=dns-01"')
    zone.put(f"sites.{DOMAIN}", "CAA", '0 issuewild ";"')
    with pytest.raises(EdgeError, match=rf'for \*\.sites\.{DOMAIN}:\n +sites\.{DOMAIN} CAA 0 issuewild ";"'):
        zone.obtain(pebble)
    zone.put(f"sites.{DOMAIN}", "CAA", '0 issuewild "pebble.letsencrypt.org"')
    assert zone.obtain(pebble).chain


def test_a_challenge_that_leads_elsewhere_is_named(zone: Zone, pebble: Pebble) -> None:
    zone.put(CHALLENGES[0], "CNAME", "elsewhere.example.com")
    with pytest.raises(EdgeError, match=rf"{CHALLENGES[0]} is a CNAME record to elsewhere\.example\.com"):
        zone.obtain(pebble)


def test_a_zone_that_is_not_there_is_named(edge: Edge, pebble: Pebble) -> None:
    edge.routing = {"domain": "llm.other.dev", "hostedZone": "other.dev"}
    with pytest.raises(EdgeError, match=r"the hosted zone other\.dev, .*no matching hosted zone found\n  -> edge doctor prod"):
        edge.renew(pebble)
    edge.routing["createHostedZone"] = True
    with pytest.raises(EdgeError, match="edge up prod   # creates it"):
        edge.renew(pebble)


class Interrupted(ChallengeRecords):
    """Ctrl-C while the name servers are waited for."""

    def add(self, values: Mapping[str, Sequence[str]]) -> None:
        super().add(values)
        raise KeyboardInterrupt


class Stuck(ChallengeRecords):
    """May add and not remove."""

    def remove(self, values: Mapping[str, Sequence[str]]) -> None:
        raise EdgeError(f"the credentials lack the permission to change {', '.join(values)}")


def test_an_interrupted_order_leaves_nothing(zone: Zone, pebble: Pebble) -> None:
    zone.records = Interrupted(zone.route53, zone.id, [zone.server], zone.said.append)
    with pytest.raises(KeyboardInterrupt):
        zone.obtain(pebble)
    assert zone.texts() == {}


def test_records_that_cannot_be_removed_are_told_and_cost_no_certificate(zone: Zone, pebble: Pebble) -> None:
    zone.records = Stuck(zone.route53, zone.id, [zone.server], zone.said.append)
    assert zone.obtain(pebble).chain
    (told,) = (line for line in zone.said if "are still there" in line)
    assert CHALLENGES[0] in told
    assert "lack the permission" in told
    zone.records = ChallengeRecords(zone.route53, zone.id, [zone.server], zone.said.append)
    assert zone.obtain(pebble).chain, "they are in nobody's way"


def test_a_zone_that_seems_not_delegated_is_told_and_the_ca_decides(
    edge: Edge, pebble: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> tuple[str, str, str]:
        return "failed", "acme.dev is delegated to nobody", "acme.dev. NS a.\nacme.dev. NS b."

    monkeypatch.setattr(certificate, "delegation", nobody)
    monkeypatch.setattr(certificate, "name_servers", lambda *_: [edge.zone.server])  # pyright: ignore
    monkeypatch.setattr(edge, "dns_port", lambda: None)
    assert edge.renew(pebble).is_new
    assert "acme.dev is delegated to nobody\n  -> acme.dev. NS a.\n     acme.dev. NS b." in edge.zone.said[0]


@pytest.mark.parametrize(
    ("answer", "found"), [(dns.resolver.NXDOMAIN(), ()), (dns.resolver.NoAnswer(), ()), (dns.resolver.LifetimeTimeout(), None)]
)
def test_caa_records_above_the_zone_are_those_of_this_machines_resolver(
    monkeypatch: pytest.MonkeyPatch, answer: Exception, found: Sequence[str] | None
) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise answer

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    assert certificate._resolved_caa("dev") == found


def test_names_that_do_not_answer_are_told(zone: Zone, pebble: Pebble, monkeypatch: pytest.MonkeyPatch) -> None:
    """One name server that has not the records is waited for, and then named; nothing is left."""
    monkeypatch.setattr(challenge_records, "_ANSWER_SECONDS", 0.0)

    def old(*_: object) -> list[str]:
        return ['"old"']

    monkeypatch.setattr(challenge_records, "asked", old)
    with pytest.raises(EdgeError, match=rf"not all name servers .*: {CHALLENGES[0]} at 127\.0\.0\.1, {CHALLENGES[1]} at"):
        zone.obtain(pebble)
    assert zone.texts() == {}


def test_servers_that_cannot_be_asked_from_here_are_told_and_left_to_route_53(
    zone: Zone, pebble: Pebble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenge_records, "_ASK_SECONDS", 0.5)
    nobody = "127.0.0.1", 9
    zone.records = ChallengeRecords(zone.route53, zone.id, [zone.server, nobody], zone.said.append)
    assert zone.obtain(pebble).chain
    assert any("1 of 2 name servers of the zone do not answer this machine" in line for line in zone.said)


def test_a_server_that_is_not_known_or_not_there(zone: Zone, pebble: Pebble) -> None:
    for authority, words in (
        (
            Authority(pebble.directory),
            r"is not known by its certificate: .*\n  -> name the certificate of its CA: --ca-bundle FILE",
        ),
        (Authority("https://127.0.0.1:9/dir"), r"does not answer: .*refused.*\n  -> curl -sS https://127"),
        (Authority(pebble.directory.replace("dir", "nonce-plz"), pebble.ca_bundle), "does not speak ACME as expected"),
    ):
        with pytest.raises(EdgeError, match=words):
            obtain(authority, ACCOUNT, NAMES, zone.records, ask_caa=zone.ask_caa, say=zone.said.append)


@pytest.mark.parametrize(
    ("name", "records", "at"),
    [
        ("a.b.dev", {}, None),
        ("a.b.dev", {"dev": ['0 issue "other.org"']}, "dev"),
        ("a.b.dev", {"a.b.dev": ['0 issue "our.org"'], "dev": ['0 issue "other.org"']}, None),
        ("a.b.dev", {"b.dev": ['0 issue "OUR.org; a=b"', '0 issue "other.org"']}, None),
        ("a.b.dev", {"b.dev": ['0 issue ";"']}, "b.dev"),
        ("a.b.dev", {"b.dev": ['0 issuewild ";"']}, None),
        ("*.b.dev", {"b.dev": ['0 issuewild ";"', '0 issue "our.org"']}, "b.dev"),
        ("*.b.dev", {"b.dev": ['0 issue "our.org"']}, None),
        ("a.b.dev", {"b.dev": ['0 iodef "mailto:a@b.dev"']}, None),
        ("a.b.dev", {"b.dev": ['128 tbs "unknown"']}, "b.dev"),
        ("a.b.dev", {"b.dev": ['0 tbs "unknown"']}, None),
        ("a.b.dev", {"b.dev": None, "dev": ['0 issue "other.org"']}, None),
    ],
)
def test_caa_as_rfc_8659_reads_it(name: str, records: dict[str, list[str] | None], at: str | None) -> None:
    found = forbidding(name, ["our.org"], lambda asked: records.get(asked, []))
    assert (found and found[0]) == at


@given(
    flags=st.integers(0, 255),
    tag=st.text("abcXYZ09", min_size=1),
    value=st.text(st.characters(min_codepoint=32, max_codepoint=126)),
)
def test_a_caa_record_is_read_back_from_its_text(flags: int, tag: str, value: str) -> None:
    text = CAA(dns.rdataclass.IN, dns.rdatatype.CAA, flags, tag.encode(), value.encode()).to_text()
    assert Record.of(text) == Record(flags, tag.lower(), value)
