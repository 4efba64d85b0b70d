"""The name server on real sockets, asked by dnspython and, where it is installed, by dig."""

# dnspython leaves the type of a message's options open:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any, cast

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import pytest

from localcloud.dns.server import DnsServer, HostedZone

NAME = "llm.edge.internal."
SOA = {
    "Name": "edge.internal.",
    "Type": "SOA",
    "TTL": 900,
    "ResourceRecords": [{"Value": "ns-2048.awsdns-64.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"}],
}
NS = {"Name": "edge.internal.", "Type": "NS", "TTL": 172800, "ResourceRecords": [{"Value": "ns-2048.awsdns-64.com."}]}


def near(group: str, value: str) -> dict[str, Any]:
    record = {"Name": NAME, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}]}
    return {**record, "SetIdentifier": group, "HealthCheckId": group, "GeoProximityLocation": {"LocalZoneGroup": group}}


PLAIN = {"Name": f"plain.{NAME}", "Type": "A", "TTL": 30, "ResourceRecords": [{"Value": "192.0.2.9"}]}
LONG = {
    "Name": f"long.{NAME}",
    "Type": "TXT",
    "TTL": 5,
    "ResourceRecords": [{"Value": f'"{number}{"x" * 250}"'} for number in range(8)],
}
BROKEN = {"Name": f"broken.{NAME}", "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": "not an address"}]}
HONOLULU, LOS_ANGELES = "192.0.2.1", "192.0.2.2"
RECORDS = [SOA, NS, PLAIN, LONG, BROKEN, near("us-west-2-hnl-1", HONOLULU), near("us-west-2-lax-1", LOS_ANGELES)]
CHILD = [{**SOA, "Name": "child.edge.internal."}, {**PLAIN, "Name": "a.child.edge.internal."}]
ZONES = [HostedZone("edge.internal.", RECORDS), HostedZone("child.edge.internal.", CHILD)]


class Running:
    """A server in a loop of its own, and what is down in its world."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.server = DnsServer(lambda: ZONES, lambda check: check not in self.down)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.server.open(0), self.loop).result(10)
        self.port = self.server.port

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def ask(
        self, name: str = NAME, kind: str = "A", subnet: str | None = None, source: str = "127.0.0.1", *, tcp: bool = False
    ) -> dns.message.Message:
        options = [dns.edns.ECSOption.from_text(subnet)] if subnet else None
        query = dns.message.make_query(name, kind, use_edns=0 if subnet else None, options=options)
        ask = dns.query.tcp if tcp else dns.query.udp
        return ask(query, "127.0.0.1", timeout=10, port=self.port, source=source)

    def value(self, subnet: str | None = None, source: str = "127.0.0.1") -> str:
        return self.ask(subnet=subnet, source=source).answer[0].to_text().split()[-1]


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    running = Running()
    yield running
    running.close()


@pytest.fixture
def running(shared: Running) -> Running:
    shared.down.clear()
    return shared


@pytest.mark.parametrize("tcp", [False, True])
def test_an_answer_is_authoritative_and_lives_as_long_as_its_record(running: Running, tcp: bool) -> None:
    response = running.ask(f"plain.{NAME}", tcp=tcp)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.AA
    assert not response.flags & dns.flags.RA
    assert [rrset.to_text() for rrset in response.answer] == [f"plain.{NAME} 30 IN A 192.0.2.9"]
    assert not response.authority


def test_the_clients_place_is_its_source_or_its_subnet(running: Running) -> None:
    assert running.value(source="127.200.2.7") == HONOLULU
    assert running.value(source="127.200.1.7") == LOS_ANGELES
    assert running.value(subnet="128.171.0.0/16", source="127.200.1.7") == HONOLULU
    assert running.value() == LOS_ANGELES, "127.0.0.1 has no place: as from Portland"


def test_no_bit_of_the_address_means_the_resolvers_place(running: Running) -> None:
    assert running.value(subnet="0.0.0.0/0", source="127.200.2.7") == HONOLULU


@pytest.mark.parametrize(
    ("name", "subnet", "scope"),
    [
        (NAME, "128.171.0.0/16", 16),
        (NAME, "128.171.5.0/24", 24),
        (NAME, "2001:db8::/56", 56),
        (f"plain.{NAME}", "128.171.0.0/16", 0),
        (f"nothing.{NAME}", "128.171.0.0/16", 0),
    ],
)
def test_the_scope_says_for_whom_the_answer_is(running: Running, name: str, subnet: str, scope: int) -> None:
    """RFC 7871: address and source prefix as they came, and the scope within which a resolver may use the answer again."""
    options = cast("tuple[dns.edns.Option, ...]", running.ask(name, subnet=subnet).options)
    assert [option.to_text() for option in options] == [f"ECS {subnet} scope/{scope}"]


def test_no_subnet_in_the_reply_where_none_was_in_the_question(running: Running) -> None:
    assert running.ask().edns == -1
    query = dns.message.make_query(NAME, "A", use_edns=0)
    response = dns.query.udp(query, "127.0.0.1", timeout=10, port=running.port)
    assert (response.edns, response.options) == (0, ())


def test_the_answer_follows_the_health_at_once(running: Running) -> None:
    running.down.add("us-west-2-hnl-1")
    assert running.value(source="127.200.2.7") == LOS_ANGELES
    running.down.clear()
    assert running.value(source="127.200.2.7") == HONOLULU


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        (f"nothing.{NAME}", "A", dns.rcode.NXDOMAIN),
        (NAME, "AAAA", dns.rcode.NOERROR),
        (NAME, "TYPE65280", dns.rcode.NOERROR),
    ],
)
def test_a_no_carries_the_soa(running: Running, name: str, kind: str, code: dns.rcode.Rcode) -> None:
    response = running.ask(name, kind)
    assert (response.rcode(), response.answer) == (code, [])
    assert response.flags & dns.flags.AA
    assert response.authority[0].to_text().startswith("edge.internal. 900 IN SOA ns-2048.awsdns-64.com. ")


def test_soa_and_ns_of_the_zone(running: Running) -> None:
    for kind, ttl in (("SOA", 900), ("NS", 172800)):
        assert running.ask("edge.internal.", kind).answer[0].ttl == ttl


def test_the_most_specific_zone_answers(running: Running) -> None:
    assert running.ask("a.child.edge.internal.").answer[0].ttl == 30
    assert running.ask("b.child.edge.internal.").authority[0].name.to_text() == "child.edge.internal."


def test_names_have_no_case_and_come_back_as_they_were_asked(running: Running) -> None:
    response = running.ask("PLAIN.llm.EDGE.internal.")
    assert response.answer[0].name.to_text() == "PLAIN.llm.EDGE.internal."


@pytest.mark.parametrize("name", ["example.com.", "internal.", "xedge.internal."])
def test_other_zones_names_are_refused(running: Running, name: str) -> None:
    response = running.ask(name)
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA


def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp(running: Running) -> None:
    query = dns.message.make_query(f"long.{NAME}", "TXT")
    cut = dns.query.udp(query, "127.0.0.1", timeout=10, port=running.port)
    assert cut.flags & dns.flags.TC
    assert len(cut.to_wire()) <= 512
    assert not cut.answer
    whole, used_tcp = dns.query.udp_with_fallback(query, "127.0.0.1", timeout=10, port=running.port)
    assert used_tcp
    assert len(whole.answer[0]) == 8
    roomy = dns.message.make_query(f"long.{NAME}", "TXT", use_edns=0, payload=4096)
    assert len(dns.query.udp(roomy, "127.0.0.1", timeout=10, port=running.port).answer[0]) == 8


@pytest.mark.parametrize("payload", [0, 1, 511])
def test_less_room_than_512_bytes_counts_as_512(running: Running, payload: int) -> None:
    """RFC 6891, 6.2.3."""
    query = dns.message.make_query(f"long.{NAME}", "TXT", use_edns=0, payload=payload)
    assert dns.query.udp(query, "127.0.0.1", timeout=10, port=running.port).flags & dns.flags.TC


def test_another_version_of_edns_gets_the_version_spoken_here(running: Running) -> None:
    """RFC 6891, 6.1.3: no answer, BADVERS, and an OPT record of version 0."""
    response = raw(running, dns.message.make_query(f"plain.{NAME}", "A", use_edns=1).to_wire())
    assert (response.rcode(), response.edns, response.answer) == (dns.rcode.BADVERS, 0, [])


def test_one_tcp_connection_carries_many_questions(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        for name in (f"plain.{NAME}", f"nothing.{NAME}"):
            query = dns.message.make_query(name, "A")
            assert dns.query.tcp(query, "127.0.0.1", timeout=10, sock=connection).id == query.id


@pytest.mark.parametrize(("kind", "opcode"), [("ANY", dns.opcode.QUERY), ("AXFR", dns.opcode.QUERY), ("A", dns.opcode.NOTIFY)])
def test_what_is_not_implemented_says_so(running: Running, kind: str, opcode: dns.opcode.Opcode) -> None:
    query = dns.message.make_query(NAME, kind)
    query.set_opcode(opcode)
    assert raw(running, query.to_wire()).rcode() == dns.rcode.NOTIMP


def raw(running: Running, wire: bytes) -> dns.message.Message:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(10)
        asker.sendto(wire, ("127.0.0.1", running.port))
        return dns.message.from_wire(asker.recv(65535))


def test_a_class_that_is_not_the_internets_is_refused(running: Running) -> None:
    assert raw(running, dns.message.make_query(NAME, "A", "CH").to_wire()).rcode() == dns.rcode.REFUSED


def test_garbage_gets_a_format_error_and_harms_nobody(running: Running) -> None:
    response = raw(running, b"\x12\x34\x01" + b"\xff" * 40)
    assert (response.id, response.rcode()) == (0x1234, dns.rcode.FORMERR)
    no_question = dns.message.Message(id=7)
    assert raw(running, no_question.to_wire()).rcode() == dns.rcode.FORMERR
    assert running.server.reply(b"\x00", "127.0.0.1", udp=True) is None
    assert running.ask(f"plain.{NAME}").answer


def test_a_reply_is_never_replied_to(running: Running) -> None:
    reply = running.ask(f"plain.{NAME}")
    assert running.server.reply(reply.to_wire(), "127.0.0.1", udp=True) is None
    assert running.server.reply(reply.to_wire()[:-1], "127.0.0.1", udp=True) is None, "nor to a broken one"


def test_a_record_that_cannot_be_read_is_a_server_failure(running: Running) -> None:
    assert running.ask(f"broken.{NAME}").rcode() == dns.rcode.SERVFAIL


def test_a_taken_port_is_left_for_a_free_one() -> None:
    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            taken: int = other.getsockname()[1]
            server = DnsServer(lambda: ZONES, lambda _check: True)
            await server.open(taken)
            assert server.port not in {0, taken}
            server.close()

    asyncio.run(run())


@pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed (package bind9-dnsutils)")
def test_dig_works(running: Running) -> None:
    def dig(*words: str) -> str:
        command = ["dig", "@127.0.0.1", "-p", str(running.port), "+timeout=5", "+tries=1", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert dig(NAME, "+subnet=128.171.0.0/16", "+short").split() == [HONOLULU]
    told = dig(NAME, "+subnet=128.171.0.0/16")
    assert "CLIENT-SUBNET: 128.171.0.0/16/16" in told
    assert "status: NOERROR" in told
    assert "Warning" not in told.replace("WARNING: recursion requested but not available", "")
    assert len(dig(f"long.{NAME}", "TXT", "+bufsize=512", "+short").splitlines()) == 8, "dig asks again over TCP"
    assert "status: NXDOMAIN" in dig(f"nothing.{NAME}")
