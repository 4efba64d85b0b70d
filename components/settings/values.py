"""What a single value of the stack config may be: networks, names, codes. Each type's ValueError says why it cannot work.

Leaves out how values belong together: sections.py has the sections, rules.py what holds between them.
"""

import re
import unicodedata
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from components.subnets import SUBNET_PREFIX_LENGTH
from components.zones import is_region, is_zone_group, parse_zone
from geography.codes import CONTINENTS, COUNTRIES, US_STATES

_DOCUMENTATION_NETWORKS = tuple(IPv4Network(network) for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))
"""RFC 5737: addresses that stand in documents and belong to nobody."""
_PRIVATE_NETWORKS = tuple(IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_EXAMPLE_DOMAINS = re.compile(r"(^|\.)(example(\.(com|net|org))?|test|invalid|localhost|your\.domain|your-domain(\.\w+)?)$")
"""RFC 2606 and 6761, and the placeholders of this project's own documents."""
_HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TAG_SIGNS = " _.:/=+-@"
_LONGEST_DOMAIN = 200
_WIDEST_SSH_PREFIX = 8
_SSH_PORT = 22


def _network(value: str) -> IPv4Network:
    try:
        return IPv4Network(value)
    except ValueError as error:
        try:
            network = IPv4Network(value, strict=False)
        except ValueError:
            raise ValueError("is no IPv4 network: write it like 93.184.216.34/32") from error
        raise ValueError(f"has host bits set; the network is {network}") from error


def _client_network(value: str) -> str:
    """A CIDR in canonical form: ValueError for host bits, IPv6 and documentation addresses."""
    if ":" in value:
        raise ValueError("is IPv6; sites have IPv4 addresses, since few Local Zones offer IPv6")
    network = _network(value)
    if any(network.subnet_of(documentation) for documentation in _DOCUMENTATION_NETWORKS):
        raise ValueError("is a documentation address (RFC 5737) and belongs to nobody, so nobody could connect")
    return str(network)


def _ssh_network(value: str) -> str:
    if IPv4Network(_client_network(value)).prefixlen < _WIDEST_SSH_PREFIX:
        raise ValueError("opens port 22 to the world; name the address of the machine that deploys, as a /32")
    return _client_network(value)


def _zone_name(value: str) -> str:
    return parse_zone(value).name


def _group_name(value: str) -> str:
    if not (is_region(value) or is_zone_group(value)):
        raise ValueError("names no zone group (us-west-2-lax-1) and no Region (us-west-2)")
    return value


def _continent(code: str) -> str:
    if code not in CONTINENTS:
        raise ValueError(f"is no continent of Route 53: {', '.join(sorted(CONTINENTS))}")
    return code


def _country(code: str) -> str:
    if code not in COUNTRIES:
        raise ValueError("is no country: ISO 3166-1 has two capital letters for each, such as CA, and GB, not UK")
    return code


def _us_state(code: str) -> str:
    if code not in US_STATES:
        raise ValueError("is no US state: the postal code has two capital letters, such as HI")
    return code


def _domain(value: str) -> str:
    name = value.rstrip(".").lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("is no domain name")
    if len(name) > _LONGEST_DOMAIN:
        raise ValueError(f"is longer than {_LONGEST_DOMAIN} characters, and the sites' names below it must fit DNS's 253")
    if _EXAMPLE_DOMAINS.search(name):
        raise ValueError("is an example name (RFC 2606, 6761) that no resolver will ever find")
    return name


def _vpc_network(value: str) -> str:
    network = _network(value)
    if not any(network.subnet_of(private) for private in _PRIVATE_NETWORKS):
        raise ValueError("is not a private network (RFC 1918: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)")
    if not 16 <= network.prefixlen <= SUBNET_PREFIX_LENGTH - 5:  # noqa: PLR2004
        raise ValueError("must be a /16 to /19: AWS allows no larger VPC, and every zone gets a /24 of it")
    return str(network)


def _subnet(value: str) -> str:
    network = _network(value)
    if not 16 <= network.prefixlen <= 28:  # noqa: PLR2004
        raise ValueError("must be a /16 to /28: AWS makes no other subnets")
    return str(network)


def _without_repeats(values: list[str]) -> list[str]:
    """Each once: AWS refuses two rules for one network."""
    return list(dict.fromkeys(values))


def _endpoint_port(value: int) -> int:
    if value == _SSH_PORT:
        raise ValueError("is SSH's own: clients would be let in there, and the endpoint could not listen")
    return value


def _engine_argument(value: str) -> str:
    if value.startswith("--api-key"):
        raise ValueError("would show the key in command texts and on the host; set edge-inference:apiKey, which the proxy checks")
    return value


def _share(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not is_number and not (isinstance(value, str) and re.fullmatch(r"[1-9]\d?%|100%", value)):
        raise ValueError("is neither a number of replicas nor a percentage: write it like 2 or 10%")
    return value


def _opt_in(value: object) -> object:
    if not isinstance(value, bool) and value != "anyway":
        raise ValueError("is neither true nor false nor anyway")
    return value


def _tag_text(value: str) -> str:
    """AWS's rule for all services alike (General Reference, tagging)."""
    for each in value:
        if each not in _TAG_SIGNS and unicodedata.category(each)[0] not in "LN":
            name = unicodedata.name(each, f"the character U+{ord(each):04X}")
            raise ValueError(f"holds {name}, and AWS takes letters, digits, blanks and {' '.join(_TAG_SIGNS.strip())} in tags")
    return value


def _tag_key(value: str) -> str:
    if value.lower().startswith("aws:"):
        raise ValueError("begins with aws:, which AWS keeps for itself")
    return _tag_text(value)


ClientNetwork = Annotated[str, AfterValidator(_client_network)]
SshNetwork = Annotated[str, AfterValidator(_ssh_network)]
VpcNetwork = Annotated[str, AfterValidator(_vpc_network)]
SubnetNetwork = Annotated[str, AfterValidator(_subnet)]
ZoneName = Annotated[str, AfterValidator(_zone_name)]
GroupName = Annotated[str, AfterValidator(_group_name)]
"""A zone group or a Region."""
Continent = Annotated[str, AfterValidator(_continent)]
Country = Annotated[str, AfterValidator(_country)]
UsState = Annotated[str, AfterValidator(_us_state)]
Domain = Annotated[str, AfterValidator(_domain)]
EndpointPort = Annotated[int, AfterValidator(_endpoint_port)]
EngineArgument = Annotated[str, Field(pattern=r"^[\w@%+=:,./-]+$"), AfterValidator(_engine_argument)]
Image = Annotated[str, Field(pattern=r"^[a-z0-9][a-zA-Z0-9._/:@-]*$")]
InstanceTypeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*\.[a-z0-9-]+$")]
OptIn = Annotated[bool | Literal["anyway"], BeforeValidator(_opt_in)]
Share = Annotated[Annotated[int, Field(ge=1)] | str, BeforeValidator(_share)]
"""A number of replicas, or a percentage of them."""
KeyName = Annotated[str, Field(pattern=r"^[\w-]{1,64}$")]
TagKey = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_key)]
TagValue = Annotated[str, Field(max_length=256), AfterValidator(_tag_text)]
EachOnce = AfterValidator(_without_repeats)
