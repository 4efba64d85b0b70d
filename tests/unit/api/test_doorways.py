"""Who gets a connection to a host: security-group rules, asked by clients with addresses of their own on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from geography.cities import CITIES, CLIENT_NETWORK, local_network
from localcloud.api import world
from localcloud.hosts.doorway import Doorway, bound_socket

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .conftest import Site

PORT = 18080
HONOLULU, TOKYO = (str(local_network(CITIES[name])[1]) for name in ("Honolulu", "Tokyo"))
HERE, CHECKER, BESIDE_THE_CHECKERS = "127.0.0.1", "127.255.3.17", "127.254.3.17"


@pytest.fixture
def host(ec2: Any, site: Site) -> str:
    """The address of a running instance that nobody may reach yet."""
    address = site.address()
    ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=site.launch())
    return address["PublicIp"]


@pytest.fixture
def checkers(ec2: Any) -> dict[str, Any]:
    """The rule that admits Route 53's health checkers, as the product makes it."""
    name = "com.amazonaws.us-west-2.route53-healthchecks"
    lists = ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": [name]}])["PrefixLists"]
    return {"PrefixListIds": [{"PrefixListId": lists[0]["PrefixListId"]}]}


@asynccontextmanager
async def _served(address: str) -> AsyncGenerator[None]:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"let in")
        writer.close()

    server = await asyncio.start_server(greet, sock=bound_socket("127.0.0.1", 0))
    doorway = Doorway(address, PORT, server.sockets[0].getsockname()[1], world.refusal)
    await doorway.open()
    try:
        yield
    finally:
        doorway.close()
        server.close()


async def _gets_in(address: str, source: str) -> bool:
    """Whether a client with this address is served; one that is not is reset."""
    try:
        reader, writer = await asyncio.open_connection(address, PORT, local_addr=(source, 0))
        greeting = await reader.read()
    except ConnectionResetError:
        return False
    writer.close()
    return greeting == b"let in"


def who_gets_in(address: str) -> set[str]:
    async def ask() -> set[str]:
        async with _served(address):
            return {source for source in (HERE, HONOLULU, TOKYO, CHECKER, BESIDE_THE_CHECKERS) if await _gets_in(address, source)}

    return asyncio.run(asyncio.wait_for(ask(), 20))


def test_without_a_rule_nobody_gets_in(host: str) -> None:
    assert who_gets_in(host) == set()


def test_only_clients_inside_the_rules_cidr_get_in(site: Site, host: str) -> None:
    site.admit(PORT, IpRanges=[{"CidrIp": str(local_network(CITIES["Honolulu"]))}])
    assert who_gets_in(host) == {HONOLULU}


def test_a_rule_for_another_port_lets_nobody_in(site: Site, host: str) -> None:
    site.admit(PORT + 1, IpRanges=[{"CidrIp": "0.0.0.0/0"}])
    assert who_gets_in(host) == set()


def test_a_rule_for_all_cities_admits_no_health_checker(site: Site, host: str) -> None:
    site.admit(PORT, IpRanges=[{"CidrIp": str(CLIENT_NETWORK)}])
    assert who_gets_in(host) == {HONOLULU, TOKYO}


def test_health_checkers_get_in_by_the_prefix_list_and_nobody_else_does(
    ec2: Any, site: Site, host: str, checkers: dict[str, Any]
) -> None:
    site.admit(PORT, **checkers)
    assert who_gets_in(host) == {CHECKER}
    rule = {"IpProtocol": "tcp", "FromPort": PORT, "ToPort": PORT, **checkers}
    ec2.revoke_security_group_ingress(GroupId=site.group, IpPermissions=[rule])
    assert who_gets_in(host) == set()
