"""What holds between the sections of a config: subnets, tags, places, certificate and names.

Leaves out what AWS must answer: preflight.py judges that.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Network

from pydantic import SecretStr

from components import PROJECT
from components.certificates import certificate_faults
from components.dns_plan import site_name
from components.problems import Problem, path_part
from components.remedies import ENVIRONMENT, set_line, unset_line
from components.settings.sections import NetworkSettings, RoutingSettings, SiteSettings
from components.settings.wording import NO_DEFAULT, SECRET_FIXES
from components.subnets import planned_subnets

OUR_TAGS = ("Name", f"{PROJECT}:stack", f"{PROJECT}:deployment", f"{PROJECT}:replica")
"""Keys of the tags that components/tags.py gives to what belongs to a replica."""
_MOST_TAGS, _MOST_ROUTE53_TAGS = 50, 10
"""Of a resource, and of a health check or hosted zone (ChangeTagsForResource in Route 53's API reference)."""


def subnet_problems(sites: Mapping[int, SiteSettings], network: NetworkSettings | None) -> Iterator[Problem]:
    """Subnets that overlap or lie outside the VPC."""
    if network is None:
        return
    by_region: dict[str, dict[str, str | None]] = {}
    for index, site in sites.items():
        zones = by_region.setdefault(site.parsed_zone.region, {})
        zones[site.zone] = site.subnet_cidr
        try:
            planned_subnets(IPv4Network(network.vpc_cidr), zones)
        except ValueError as error:
            del zones[site.zone]
            path = f"{PROJECT}:sites[{index}].subnetCidr"
            yield Problem(path, site.subnet_cidr, str(error), set_line(path, "A.B.C.0/24   # a free one"))


def tag_problems(tags: Mapping[str, str], routing: RoutingSettings | None) -> Iterator[Problem]:
    """More tags than fit: AWS would refuse them after the hosts were made."""
    own = sorted(tags.keys() - set(OUR_TAGS))
    most, on = (_MOST_ROUTE53_TAGS, "a health check") if routing and routing.is_on else (_MOST_TAGS, "a resource")
    room = most - len(OUR_TAGS)
    if len(own) > room:
        reason = f"AWS takes {most} tags of {on}, and {len(OUR_TAGS)} are this program's: at most {room} of your own fit"
        fixes = [unset_line(f"tags{path_part(key)}") for key in own[room:]]
        yield Problem(f"{PROJECT}:tags", f"{len(own)} tags", reason, "\n".join(fixes))


def place_problems(sites: Iterable[SiteSettings], routing: RoutingSettings | None, drained: list[str]) -> Iterator[Problem]:
    """Names of zones, groups and Regions that no site is in; and a service without a site to go to."""
    zones, groups = [site.zone for site in sites], {site.parsed_zone.group for site in sites}
    named = {f"drained[{index}]": zone for index, zone in enumerate(drained)}
    if routing and routing.geolocation:
        given = routing.geolocation.model_dump(by_alias=True)
        named["routing.geolocation.default"] = given.pop("default")
        named |= {f"routing.geolocation.{kind}.{code}": zone for kind, of in given.items() for code, zone in of.items()}
    elif routing and routing.policy == "geolocation":
        path = f"{PROJECT}:routing.geolocation.default"
        yield Problem(path, None, NO_DEFAULT, set_line(path, zones[0]))
    for key, zone in named.items():
        if zone not in zones:
            line = unset_line(key) if key.startswith("drained") else set_line(key, zones[0])
            yield Problem(f"{PROJECT}:{key}", json.dumps(zone), f"is none of `sites`, which has {', '.join(zones)}", line)
    for group in sorted((routing.bias if routing else {}).keys() - groups):
        path = f"{PROJECT}:routing.bias.{group}"
        reason = f"no site is there; there are sites in {', '.join(sorted(groups))}"
        yield Problem(path, None, reason, unset_line(path))
    if set(zones) <= set(drained):
        path = f"{PROJECT}:drained"
        reason = "every site is drained, and the service's name would not answer"
        yield Problem(path, json.dumps(drained), reason, unset_line(f"{path}[0]"))


def tls_problems(
    given: Mapping[str, SecretStr | None],
    unread: Collection[str],
    routing: RoutingSettings | None,
    sites: Iterable[SiteSettings],
) -> Iterator[Problem]:
    """A certificate that is missing or does not fit, and sites without names. `given` has tlsCertificate and tlsPrivateKey;
    what is `unread` is there, in clear or encrypted, and not judged here.
    """
    if routing and not routing.is_on:
        yield Problem(
            f"{PROJECT}:endpoint.tls",
            "true",
            "no certificate fits a bare address, and routing.policy is none, so that the sites have no names",
            f"{set_line('endpoint.tls', 'false')}\n"
            f"{set_line('routing.policy', 'latency')}   # or this, where routing has a domain and a hostedZone",
        )
        return
    obtain = f"edge certificate {ENVIRONMENT}"
    missing = [name for name, value in given.items() if value is None and name not in unread]
    if missing:
        reason = f"is missing{', and so is its key' if len(missing) > 1 else ''}, and endpoint.tls is true"
        yield Problem(f"{PROJECT}:{missing[0]}", None, reason, obtain)
    certificate, key = given["tlsCertificate"], given["tlsPrivateKey"]
    if not certificate or not key or not routing or not routing.domain:
        return
    names = [routing.domain, *(site_name(routing.domain, site.parsed_zone) for site in sites)]
    faults = certificate_faults(certificate.get_secret_value(), key.get_secret_value(), names, datetime.now(UTC))
    for name, reason in faults:
        fixes = f"{obtain}   # by ACME; or one of your own:\n{SECRET_FIXES[name]}"
        yield Problem(f"{PROJECT}:{name}", None, reason, fixes)
