# dnspython leaves the types of a set's records open:
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""An environment's own certificate, by ACME through its own hosted zone: whether a new one is due, and where it is kept.

Changes TXT records and the stack's secrets, nothing else: the next `up` brings it to the hosts. How it is obtained is
account/acme_client.py's.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.exception
import dns.resolver
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.acme_client import Authority, is_key, new_key, obtain
from automation.account.challenge_records import ChallengeRecords, Server, asked
from automation.account.questions import AccountLookups
from automation.engine.command import Stack
from automation.engine.deployed import Deployed, config_of
from automation.engine.locks import only_run
from automation.engine.stored_secrets import set_secrets
from automation.errors import EdgeError, UsageError
from automation.sites.names import delegation, name_servers
from components.aws_facts import HostedZoneFacts, because
from components.certificates import Facts, certificate_faults, facts_of
from components.dns_plan import certificate_names, site_name
from components.problems import ConfigurationError
from components.settings import PROJECT, RoutingSettings, StackConfig, validate

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
_DNS_SECONDS = 5.0
_SKEW = timedelta(minutes=5)
"""By which a CA's clock may be ahead of ours."""
_CERTIFICATE, _PRIVATE_KEY, _ACCOUNT = (f"{PROJECT}:{name}" for name in ("tlsCertificate", "tlsPrivateKey", "acmeAccount"))


@dataclass(frozen=True)
class Renewal:
    """What came of it."""

    environment: str
    is_new: bool
    """Whether it was obtained just now; else the stored one does."""
    names: tuple[str, ...]
    facts: Facts
    stored_in: Path
    """The stack file that holds it."""
    has_tls: bool
    """Whether the environment serves with it: endpoint.tls."""

    def described(self) -> dict[str, Any]:
        """As `edge certificate --json` prints it."""
        return {
            "environment": self.environment,
            "new": self.is_new,
            "names": list(self.names),
            "issuer": self.facts.issuer,
            "expires": self.facts.expires.isoformat(),
            "days_left": self.facts.days_left(datetime.now(UTC)),
        }


def renew(environment: Deployed, authority: Authority, if_expires_in: timedelta | None) -> Renewal:
    """A certificate from an ACME server in the stack's secrets; the stored one where it is of the same server, fits, and does not
    expire in `if_expires_in`. EdgeError where there is none to be had: nothing is changed then.
    """
    if not environment.on_local_cloud:
        # Before a stack is made for it.
        _routing(environment.file_config())
    elif authority.server in {LETS_ENCRYPT, STAGING}:
        raise UsageError(
            "the local cloud's names are not on the internet, where Let's Encrypt looks for them\n"
            f"  -> {environment.commands.edge('certificate')} --server URL   # of an ACME server on this machine"
        )
    with only_run(environment.logs, environment.name, "obtaining a certificate"):
        stack = environment.open(may_start=True)
        with environment.engine_trouble("reading the config"):
            config = config_of(stack)
        routing, domain = _routing(config)
        names, path = certificate_names(domain), Path(stack.workspace.work_dir) / f"Pulumi.{environment.name}.yaml"
        validated = validate(config)
        has_tls = bool(validated.endpoint and validated.endpoint.tls)
        account = _account(config)
        if if_expires_in is not None:
            sites = [site_name(domain, site.parsed_zone) for site in validated.sites.values()]
            known = account.get("server") in {None, authority.server}
            if known and (good := _still_good(config, [domain, *sites], if_expires_in)):
                return Renewal(environment.name, False, names, good, path, has_tls)  # noqa: FBT003 - a field
        environment.refuse_foreign_account(stack)
        key = account.get("key", "")
        key = key if is_key(key) else new_key()
        chain, private_key = _obtained(environment, authority, key, routing, names)
        account = {"server": authority.server, "key": key}
        _store(stack, path, {_ACCOUNT: json.dumps(account), _PRIVATE_KEY: private_key, _CERTIFICATE: chain})
        facts = facts_of(chain)
        assert facts  # noqa: S101 - it was read before it was stored
        return Renewal(environment.name, True, names, facts, path, has_tls)  # noqa: FBT003 - a field


def _obtained(
    environment: Deployed,
    authority: Authority,
    account_key: str,
    routing: RoutingSettings,
    names: Sequence[str],
) -> tuple[str, str]:
    """Chain and key for an environment's names, proved in its hosted zone."""
    route53 = environment.aws_client("route53", "us-east-1")
    zone = _hosted_zone(environment, routing)
    servers = _servers(environment, route53, zone)
    environment.say(f"Asking {authority.server} for a certificate for {' and '.join(names)}.")
    records = ChallengeRecords(route53, zone.id, servers, environment.say)

    def ask_caa(name: str) -> Sequence[str] | None:
        if name == zone.name or name.endswith(f".{zone.name}"):
            return next((found for server in servers if (found := asked(name, "CAA", server)) is not None), None)
        return () if environment.on_local_cloud else _resolved_caa(name)

    found = obtain(authority, account_key, names, records, ask_caa=ask_caa, say=environment.say)
    if found.terms_of_service:
        environment.say(f"An account was made at {authority.server}, under its terms of service: {found.terms_of_service}")
    faults = [reason for _, reason in certificate_faults(found.chain, found.private_key, names, datetime.now(UTC) + _SKEW)]
    if faults:
        raise EdgeError(f"{authority.server} gave a certificate that does not do: {'; '.join(faults)}")
    return found.chain, found.private_key


def _routing(config: StackConfig) -> tuple[RoutingSettings, str]:
    """How users find the sites, and the service's name; what is wrong with either is told as any run tells it."""
    validated = validate(config)
    wrong = [problem for problem in validated.problems if problem.path.startswith(f"{PROJECT}:routing")]
    if wrong or validated.routing is None:
        raise UsageError(str(ConfigurationError(config.stack, wrong or validated.problems)))
    if not validated.routing.is_on or not validated.routing.domain:
        raise UsageError(
            "routing.policy is none: the sites have no names, and no certificate fits a bare address\n"
            f"  -> edge config {config.stack} routing.policy latency"
        )
    return validated.routing, validated.routing.domain


def _account(config: StackConfig) -> dict[str, str]:
    """The account that the stack holds, and the server of the last certificate; empty where there is none."""
    with suppress(ValueError):
        found: object = json.loads(config.values.get(_ACCOUNT) or "{}")
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return {}


def _still_good(config: StackConfig, names: Sequence[str], if_expires_in: timedelta) -> Facts | None:
    """What the stored certificate says, where it fits and does not expire so soon."""
    chain, key, now = config.values.get(_CERTIFICATE) or "", config.values.get(_PRIVATE_KEY) or "", datetime.now(UTC)
    facts = facts_of(chain)
    if facts is None or facts.expires - now < if_expires_in or list(certificate_faults(chain, key, names, now)):
        return None
    return facts


def _hosted_zone(environment: Deployed, routing: RoutingSettings) -> HostedZoneFacts:
    """The zone that holds the environment's names. EdgeError where AWS does not show one."""
    lookups = AccountLookups(environment.aws_client)
    try:
        if routing.hosted_zone_id:
            return lookups.hosted_zone_by_id(routing.hosted_zone_id)
        return lookups.public_hosted_zone(str(routing.hosted_zone))
    except (BotoCoreError, ClientError, LookupError) as error:
        fix = environment.commands.edge("doctor")
        if routing.create_hosted_zone:
            fix = f"{environment.commands.edge('up')}   # creates it, with endpoint.tls false; then this again"
        shown = routing.hosted_zone_id or routing.hosted_zone
        raise EdgeError(f"the hosted zone {shown}, where the challenge goes: {because(str(error))}\n  -> {fix}") from error


def _servers(environment: Deployed, route53: Any, zone: HostedZoneFacts) -> list[Server]:
    """The name servers of the zone. Says so where the world seems to ask others: the CA decides, whose resolver may know more."""
    if (port := environment.dns_port()) is not None:
        return [("127.0.0.1", port)]
    state, finding, fix = delegation(route53, zone.id)
    if state == "failed":
        indented = (fix or "").replace("\n", "\n     ")
        environment.say(f"A CA may not find the challenge, by this machine's resolver: {finding}\n  -> {indented}")
    return name_servers(route53, zone.id)


def _resolved_caa(name: str) -> Sequence[str] | None:
    """The CAA records of a name outside the zone, by this machine's resolver; None where it does not tell."""
    try:
        return [each.to_text() for each in dns.resolver.resolve(name, "CAA", lifetime=_DNS_SECONDS)]
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except dns.exception.DNSException:
        return None


def _store(stack: Stack, path: Path, secrets: Mapping[str, str]) -> None:
    """All of them or none: a key that is not its certificate's would stop every run."""
    before = path.read_bytes()
    try:
        set_secrets(stack, secrets)
    except BaseException:
        path.write_bytes(before)
        raise
