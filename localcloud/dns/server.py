"""The authoritative name server: hosted zones over UDP and TCP on loopback, as Route 53's own name servers answer.

The wire format is dnspython's. Left out on purpose: recursion, zone transfers, DNSSEC, cookies, response rate limits.
"""

# dnspython leaves the type of a message's options open:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import cast

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from localcloud.bounds import Places
from localcloud.dns import rules

log = logging.getLogger("localcloud")

DEFAULT_PORT = 4553
_ADDRESS = "127.0.0.1"
_TRIES = 5
_IDLE_SECONDS = 10.0
_CONVERSATIONS = 256
_PAYLOAD_BYTES, _PLAIN_UDP_BYTES, _TCP_BYTES = 1232, 512, 65535
"""The UDP payload that this server advertises (DNS Flag Day 2020), the limit without EDNS, and TCP's."""


@dataclass(frozen=True)
class HostedZone:
    """A public hosted zone: its name, lower case with a dot at the end, and its records, NS and SOA among them."""

    name: str
    records: Sequence[rules.RecordSet]


class DnsServer:
    """Answers from the hosted zones and the health as they are when the question comes."""

    def __init__(self, zones: Callable[[], Sequence[HostedZone]], is_healthy: Callable[[str], bool]) -> None:
        self.zones, self.is_healthy = zones, is_healthy
        self.port = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._places = Places(_CONVERSATIONS, _CONVERSATIONS // 4)

    async def open(self, port: int = DEFAULT_PORT) -> None:
        """Listen on `port`, or on any free one where that is taken; `self.port` then says which."""
        tcp, udp = _bound_sockets(port)
        self.port = tcp.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
        self._tcp = await asyncio.start_server(self._converse, sock=tcp)

    def close(self) -> None:
        """Stop listening."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()

    def reply(self, wire: bytes, source: str, *, udp: bool) -> bytes | None:
        """The reply to one message from an address, truncated to what UDP carries; None where none is due."""
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        response = dns.message.make_response(query, our_payload=_PAYLOAD_BYTES)
        try:
            self._answer(query, response, source)
            # Without EDNS there is room for 512 bytes, and with it never for less (RFC 6891, 6.2.3).
            limit = max(query.payload, _PLAIN_UDP_BYTES) if udp else _TCP_BYTES
            return response.to_wire(max_size=limit, prefer_truncation=True)
        except Exception:
            log.exception("DNS: no answer to %s", [question.to_text() for question in query.question])
            failure = dns.message.make_response(query, our_payload=_PAYLOAD_BYTES)
            failure.set_rcode(dns.rcode.SERVFAIL)
            return failure.to_wire()

    def _answer(self, query: dns.message.Message, response: dns.message.Message, source: str) -> None:
        """Fill in the response."""
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
            return
        question = query.question[0]
        if query.opcode() != dns.opcode.QUERY or dns.rdatatype.is_metatype(question.rdtype):
            response.set_rcode(dns.rcode.NOTIMP)
            return
        name = question.name.to_text().lower()
        zone = max((zone for zone in self.zones() if _within(name, zone.name)), key=lambda zone: len(zone.name), default=None)
        if zone is None or question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.REFUSED)
            return
        given = cast("tuple[dns.edns.Option, ...]", query.options)
        subnet = next((option for option in given if isinstance(option, dns.edns.ECSOption)), None)
        # A client that sends 0 bits of its address does not want to be placed by it (RFC 7871, 7.1.2): its resolver is.
        network = _network(subnet) if subnet and subnet.srclen else ip_network(source)
        kind = dns.rdatatype.to_text(question.rdtype)
        found = rules.answer(zone.records, self.is_healthy, rules.client_in(network), name, kind)
        response.flags |= dns.flags.AA
        response.set_rcode(dns.rcode.from_text(found.code))
        if found.values:
            response.answer = [dns.rrset.from_text_list(question.name, found.ttl_seconds, "IN", found.kind, found.values)]
        else:
            response.authority = [_start_of_authority(zone)]
        if subnet:
            scope = subnet.srclen if found.by_place else 0
            told = dns.edns.ECSOption(subnet.address, subnet.srclen, scope)
            response.use_edns(0, 0, _PAYLOAD_BYTES, query.payload, options=[told])

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one TCP connection until it ends or is idle."""
        source: str = writer.get_extra_info("peername")[0]
        if not self._places.enter(writer, source, writer.transport.abort):
            writer.transport.abort()
            return
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError, OSError):
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    wire = await reader.readexactly(length)
                self._places.spoke(writer)
                if reply := self.reply(wire, source, udp=False):
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
        self._places.leave(writer)
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """UDP: one question, one reply."""

    def __init__(self, server: DnsServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        if reply := self.server.reply(data, addr[0], udp=True):
            self.transport.sendto(reply, addr)


def _bound_sockets(port: int) -> tuple[socket.socket, socket.socket]:
    """TCP and UDP on one port: the wanted one, else any; raises OSError where none is to be had."""
    for wanted in (port, *[0] * _TRIES):
        with contextlib.suppress(OSError):
            tcp = socket.create_server((_ADDRESS, wanted))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
                raise
            return tcp, udp
    raise OSError(f"no port on {_ADDRESS} is free for both UDP and TCP")


def _within(name: str, zone_name: str) -> bool:
    return name == zone_name or name.endswith(f".{zone_name}")


def _network(subnet: dns.edns.ECSOption) -> IPv4Network | IPv6Network:
    return ip_network(f"{subnet.address}/{subnet.srclen}", strict=False)


def _start_of_authority(zone: HostedZone) -> dns.rrset.RRset:
    """The zone's SOA, for an answer that says no; it may be kept as long as the SOA's TTL and minimum allow (RFC 2308)."""
    record = next(record for record in zone.records if record["Type"] == "SOA")
    value: str = record["ResourceRecords"][0]["Value"]
    ttl = min(int(record["TTL"]), int(value.rsplit(maxsplit=1)[-1]))
    return dns.rrset.from_text_list(zone.name, ttl, "IN", "SOA", [value])


def _format_error(wire: bytes) -> bytes | None:
    """The reply to a message that is none: its id, as far as there is one, and unless it means to be a reply itself."""
    if len(wire) < 3 or wire[2] & 0x80:  # noqa: PLR2004 - the id, and the byte that begins with the flag QR
        return None
    response = dns.message.Message(id=int.from_bytes(wire[:2], "big"))
    response.flags = dns.flags.Flag(dns.flags.QR)
    response.set_rcode(dns.rcode.FORMERR)
    return response.to_wire()
