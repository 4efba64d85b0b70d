"""Looks an environment over before a deployment, and after: tools, account, zones, quotas, names, model, addresses. Reads only.

What AWS would refuse, the program's own preflight judges (components/preflight.py); here its verdicts stand beside what was
found, and with them what the program cannot ask. Left out: mending anything. Each failure names the command that does.
Long, because it is one list: each check a few lines, in the order in which they are told.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dns.exception
import dns.resolver
from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

from automation.account.questions import Image, ask_account, caller, image, instances, newest_of_kind
from automation.engine.leftovers import NAMESAKE_REMEDIES
from automation.engine.locks import is_held
from automation.engine.plugins import Plugin, needed_plugins
from automation.errors import CloudNotRunningError, EdgeError, NothingDeployedError
from automation.paths import PROGRAM, typed_pulumi
from automation.sites.certificate_age import judged, shown, stored
from automation.sites.names import delegation, expected_answers
from automation.sites.own_address import OWN_ADDRESS_URL, own_address
from components.aws_facts import AwsFacts, RegionFacts, ZoneFacts, checkers_list
from components.models import HubAnswer, ModelFacts, ask_hub, known_facts, model_problems, token_problem
from components.preflight import judge
from components.problems import Problem
from components.remedies import for_environment, set_line
from components.settings import PROJECT, SiteSettings, validate
from components.tags import STACK_TAG

if TYPE_CHECKING:
    from automation.sites.deployed_sites import DeployedSites

State = Literal["ok", "warning", "failed", "unknown"]

_DNS_SECONDS = 5.0
_OLD_IMAGE_DAYS = 90
_OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    subject: str
    state: State
    """`unknown` where nobody could tell; `warning` is no obstacle."""
    finding: str
    fix: str | None = None
    """The command to run, one a line; every failure has it."""


@dataclass(frozen=True)
class Examination:
    """All that was looked at."""

    environment: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What keeps the environment from being deployed, or from answering."""
        return tuple(check for check in self.checks if check.state == "failed")

    def described(self) -> dict[str, Any]:
        """As `edge doctor --json` prints it."""
        return {"environment": self.environment, "ok": not self.failed, "checks": [asdict(check) for check in self.checks]}


def examine(environment: "DeployedSites") -> Examination:
    """Looks at everything that can be looked at; what cannot is unknown, never an error. CloudNotRunningError where the local
    cloud is needed and does not run.
    """
    checks = (
        replace(check, fix=for_environment(check.fix, environment.arguments)) if check.fix else check
        for check in _Doctor(environment).checks()
    )
    return Examination(environment.name, tuple(checks))


class _Doctor:
    """One examination."""

    def __init__(self, environment: "DeployedSites") -> None:
        self._environment, self._client = environment, environment.aws_client
        self._outputs: Mapping[str, Any] = {}
        self._deployed_in: str | None = None
        self._state = self._read_state()
        config = environment.file_config() if self._state.state == "failed" else environment.stack_config()
        self._config, self._validated = config, validate(config)
        self._problems: list[Problem] = list(self._validated.problems)

    def _read_state(self) -> Check:
        """What is deployed, by the state; the environment's own config is in the state's hands too."""
        try:
            self._deployed_in = self._environment.inventory().account
            self._outputs = self._environment.outputs()
        except NothingDeployedError:
            return Check("state", "ok", "nothing is deployed yet")
        except CloudNotRunningError:
            raise
        except EdgeError as error:
            text, _, fix = str(error).partition("\n  -> ")
            return Check("state", "failed", text, fix or f"{typed_pulumi()} whoami -v   # which backend has the state")
        return Check("state", "ok", f"{len(self._outputs['sites'])} sites are deployed")

    def checks(self) -> Iterator[Check]:
        """Everything, in the order in which to mend it."""
        yield from _tools(self._environment)
        yield self._state
        account = self._account()
        yield account
        token = self._validated.hugging_face_token
        hub, model = self._hub(token.get_secret_value().strip() if token else None)
        facts = None
        if account.state != "failed":
            facts = ask_account(self._validated, self._client)
            self._problems += judge(self._validated, facts, model)
        judged = [
            *self._zones(facts),
            *(check for region, sites in self._validated.regions.items() for check in self._region(region, sites, facts)),
            *self._names(facts),
            *self._certificate(),
            *self._model(hub, model, token.get_secret_value().strip() if token else None),
        ]
        # What none of these spoke for: the config's own mistakes, which are to be mended first.
        yield from (Check(_short(problem), "failed", _words(problem), problem.fix) for problem in self._problems)
        yield from judged
        yield from self._access()
        yield from self._answers()
        yield from self._serving()
        if account.state == "ok":
            yield from self._orphans()

    def _account(self) -> Check:
        try:
            account, arn = caller(self._client)
        except EdgeError as error:
            text, _, fix = str(error).partition("\n  -> ")
            return Check("account", "failed", text, fix)
        if self._deployed_in not in {None, account} and not self._environment.on_local_cloud:
            reason = f"{account}, and '{self._environment.name}' is deployed in {self._deployed_in}"
            return Check("account", "failed", reason, "export AWS_PROFILE=...   # then: aws sts get-caller-identity")
        return Check("account", "ok", f"{account} as {arn}{', simulated' if self._environment.on_local_cloud else ''}")

    def _judged(self, subject: str, path: str, finding: str | None, *, mark: str = "", unknown: str | None = None) -> Check:
        """What preflight found wrong under a path, else the finding; None is unknown. `mark` tells problems of one path apart."""
        for problem in self._problems:
            if problem.path == f"{PROJECT}:{path}" and mark in f"{problem.reason} {problem.fix}":
                self._problems.remove(problem)
                return Check(subject, "failed", _words(problem), problem.fix)
        return Check(subject, "unknown", unknown or "AWS was not asked") if finding is None else Check(subject, "ok", finding)

    def _zones(self, facts: AwsFacts | None) -> Iterator[Check]:
        for index, site in self._validated.sites.items():
            region = facts.regions[site.parsed_zone.region] if facts else None
            zone = region.zones.get(site.zone) if region else None
            silence: Mapping[str, str] = region.unknown if region else {}
            found = _opt_in(zone) if zone else None
            yield self._judged(f"zone {site.zone}", f"sites[{index}].zone", found, unknown=silence.get("zones"))
            for key, name in site.type_keys.items():
                yield self._judged(
                    f"  {name}",
                    f"sites[{index}].{key}",
                    _offer(name, site.zone, zone, region) if region else None,
                    unknown=silence.get(f"types {name}")
                    or silence.get(f"offered {name}")
                    or silence.get("zones", "AWS does not say before the zone group is opted in"),
                )
        types: dict[str, list[str]] = {}
        for site in self._validated.sites.values():
            types.setdefault(site.root_volume_type, []).append(site.zone)
        asked = "; ".join(f"{kind} is asked for in {', '.join(zones)}" for kind, zones in types.items())
        if asked:
            yield Check("volume types", "unknown", f"AWS has no API for them by zone: {asked}")

    def _region(self, region: str, sites: Sequence[SiteSettings], facts: AwsFacts | None) -> Iterator[Check]:
        found = facts.regions[region] if facts else RegionFacts({})
        types = [(site.replicas, found.types.get(site.instance_type)) for site in sites]
        vcpus = sum(replicas * known.vcpus for replicas, known in types if known)
        silence, addresses = found.unknown, sum(site.replicas for site in sites)
        for subject, code, needed, quota_field, used_field in (
            ("vCPUs (G and VT)", "L-DB2E81BA", vcpus, "vcpu_quota", "vcpus_used"),
            ("Elastic IPs", "L-0263D0A3", addresses, "address_quota", "addresses_used"),
        ):
            quota, used = getattr(found, quota_field), getattr(found, used_field)
            finding = None
            if quota is not None and used is not None:
                finding = f"{needed} needed, {used} used by others, quota {quota:g}"
            mark = f"--region {region} --service-code ec2 --quota-code {code}"
            unknown = next((silence[each] for each in ("zones", quota_field, used_field) if each in silence), None)
            yield self._judged(f"{region}: {subject}", "sites", finding, mark=mark, unknown=unknown)
        yield self._image(region, found)
        access, routing = self._validated.access, self._validated.routing
        if routing and routing.is_on:
            subject = f"{region}: checkers' list"
            unknown = silence.get("health_checkers", silence.get("zones"))
            yield self._judged(subject, "routing.policy", found.health_checkers, mark=checkers_list(region), unknown=unknown)
        if access and routing:
            used = len(access.client_cidrs) + len(access.ssh_cidrs) + (found.health_checkers_weight if routing.is_on else 0)
            finding = f"{used} of a group's {found.rules_per_group:g}" if found.rules_per_group is not None else None
            unknown = silence.get("rules_per_group", silence.get("zones"))
            yield self._judged(f"{region}: firewall rules", "access.clientCidrs", finding, mark=f"in {region};", unknown=unknown)

    def _image(self, region: str, found: RegionFacts) -> Check:
        newest = image(self._client, region, found.ami) if found.ami else None
        unknown = found.unknown.get("ami", found.unknown.get("zones", f"AWS does not describe {found.ami}"))
        check = self._judged(f"{region}: AMI", f"host.amis.{region}", _age(newest) if newest else None, unknown=unknown)
        if check.state != "ok" or newest is None:
            return check
        older = self._older_hosts(region, newest) if self._outputs else []
        if older:
            finding = f"{len(older)} hosts run an older one than {newest.id} of {newest.created:%Y-%m-%d}: {', '.join(older)}"
            return Check(check.subject, "warning", finding, "edge up ENV --replace-host ZONE   # drained, and one after another")
        host = self._validated.host
        return self._pinned_image(check, region, newest) if host and region in host.amis else check

    def _pinned_image(self, check: Check, region: str, pinned: Image) -> Check:
        """Whether there is a newer one than the one that the config names."""
        newest = newest_of_kind(self._client, region, pinned)
        state: State = "warning" if pinned.days_old > _OLD_IMAGE_DAYS else "ok"
        if newest is None:
            # Its name has no date to leave out, or AWS is silent.
            finding = f"{_age(pinned)}, pinned ({pinned.name}); whether there is a newer one is unknown"
            return Check(check.subject, state, finding)
        if newest.created <= pinned.created:
            return Check(check.subject, state, f"{_age(pinned)}, pinned; there is no newer one of its kind")
        line = set_line(f"host.amis.{region}", newest.id)
        finding = f"{_age(pinned)}, pinned; a newer one of its kind: {_age(newest)}"
        return Check(check.subject, state, finding, f"{line}   # replaces the Region's hosts, one after another")

    def _older_hosts(self, region: str, newest: Image) -> list[str]:
        """AMIs of this environment's hosts that are not the one to launch."""
        filters = [
            {"Name": f"tag:{STACK_TAG}", "Values": [self._environment.name]},
            {"Name": "instance-state-name", "Values": ["pending", "running", "stopped"]},
        ]
        try:
            return [each["ImageId"] for each in instances(self._client("ec2", region), filters) if each["ImageId"] != newest.id]
        except (BotoCoreError, ClientError):
            return []

    def _names(self, facts: AwsFacts | None) -> Iterator[Check]:
        routing = self._validated.routing
        if routing is None:
            return
        if not routing.is_on:
            yield Check("hosted zone", "ok", "none needed: routing.policy is none")
            return
        zone = facts.hosted_zone if facts else None
        key = "hostedZone" if routing.hosted_zone else "hostedZoneId"
        finding = f"{zone.name} ({zone.id})" if zone else "is created by the next up" if routing.create_hosted_zone else None
        unknown = facts.unknown.get("hosted_zone") if facts else None
        yield self._judged("hosted zone", f"routing.{key}", finding, unknown=unknown)
        yield self._delegation(zone.id if zone else None)

    def _certificate(self) -> Iterator[Check]:
        endpoint, kept = self._validated.endpoint, stored(self._config)
        if endpoint is None or not endpoint.tls:
            return
        check = self._judged("certificate", "tlsCertificate", "fits" if kept else None, unknown="nothing has decrypted it")
        if check.state == "ok" and kept:
            check = Check(check.subject, *judged(kept, shown(self._environment, self._outputs), self._environment.arguments))
        yield check

    def _delegation(self, zone_id: str | None) -> Check:
        subject = "delegation"
        if self._environment.on_local_cloud:
            return Check(subject, "ok", "simulated: nothing on the internet delegates to the local cloud")
        if zone_id is None:
            return Check(subject, "unknown", "there is no hosted zone yet whose name servers could be compared")
        return Check(subject, *delegation(self._client("route53", "us-east-1"), zone_id))

    def _hub(self, token: str | None) -> tuple[HubAnswer, ModelFacts]:
        server = self._validated.server
        if server is None:
            return HubAnswer(None, "the config names no model"), ModelFacts(None, None, None, "")
        hub = ask_hub(server.model, token, self._environment.hub_endpoint())
        model = known_facts(server, hub)
        self._problems += model_problems(server, model, has_token=token is not None)
        return hub, model

    def _model(self, hub: HubAnswer, model: ModelFacts, token: str | None) -> Iterator[Check]:
        server = self._validated.server
        if server is None:
            return
        size = f", {model.parameters / 1e9:.1f} billion parameters" if model.parameters else ""
        finding = f"{server.model}{size}, says {model.source}" if model.parameters or hub.facts else None
        yield self._judged("model", "server.model", finding, unknown=hub.silence or "nobody knows its size")
        if not model.gated:
            known = None if model.gated is None else f"{server.model} needs none"
            yield self._judged("Hub token", "huggingFaceToken", known, unknown=f"whether it is needed: {hub.silence}")
            return
        silence = None
        if token:
            problem, silence = token_problem(server.model, token, self._environment.hub_endpoint())
            self._problems += [problem] if problem else []
        finding = None if silence or not token else f"opens {server.model}"
        yield self._judged("Hub token", "huggingFaceToken", finding, unknown=f"whether it opens the model: {silence}")

    def _access(self) -> Iterator[Check]:
        access = self._validated.access
        if access is None:
            return
        address = IPv4Address("127.0.0.1") if self._environment.on_local_cloud else own_address()
        if address is None:
            yield Check("this machine", "unknown", f"its address: {OWN_ADDRESS_URL} did not tell it")
            return
        for key, cidrs, state, what in (
            ("sshCidrs", access.ssh_cidrs, "failed", "it could not deploy"),
            ("clientCidrs", access.client_cidrs, "warning", "status and bench could not reach the endpoints from here"),
        ):
            subject = f"access.{key}"
            if any(address in IPv4Network(cidr) for cidr in cidrs):
                yield Check(subject, "ok", f"holds this machine's {address}")
                continue
            fix = set_line(f"access.{key}[{len(cidrs)}]", f"{address}/32")
            yield Check(subject, state, f"does not hold this machine's {address}: {what}", fix)  # pyright: ignore[reportArgumentType]

    def _answers(self) -> Iterator[Check]:
        """What DNS answers against what is deployed."""
        for name, expected in expected_answers(self._outputs):
            answers = self._resolve(name)
            if answers is None:
                yield Check(f"DNS {name}", "unknown", "no resolver answers")
            elif answers and answers <= expected:
                yield Check(f"DNS {name}", "ok", f"answers {', '.join(sorted(answers))}, as deployed")
            else:
                told = ", ".join(sorted(answers)) or "nothing"
                fix = f"edge drift {self._environment.arguments}   # then: edge up {self._environment.arguments}"
                yield Check(f"DNS {name}", "failed", f"answers {told}, and {', '.join(sorted(expected))} is deployed", fix)

    def _serving(self) -> Iterator[Check]:
        """Whether each replica serves."""
        answers = self._environment.serving(self._outputs) if self._outputs else {}
        fix = f"edge up {self._environment.arguments}   # makes again what is gone, stopped or dead"
        for key, answer in answers.items():
            yield Check(f"replica {key}", "ok" if answer.serves else "failed", answer.finding, None if answer.serves else fix)

    def _orphans(self) -> Iterator[Check]:
        """What AWS has of the deployment and its state does not."""
        subject = "beside the state"
        if is_held(self._environment.logs, self._environment.name):
            yield Check(subject, "unknown", "a run is at work, and AWS has what it is making")
            return
        try:
            if same_name := self._environment.namesakes():
                shown = "; ".join(", ".join(filter(None, (each.kind, each.id, each.price))) for each in same_name)
                finding = f"it holds nothing, and AWS has what carries this name, of which nobody can tell whose it is: {shown}"
                yield Check(subject, "warning", finding, "\n".join(NAMESAKE_REMEDIES))
                return
            found = self._environment.orphans()
        except NothingDeployedError:
            return
        except EdgeError as error:
            text, _, fix = str(error).partition("\n  -> ")
            yield Check(subject, "unknown", text, fix or None)
            return
        if not found:
            yield Check(subject, "ok", "AWS has nothing of this deployment that its state does not know")
        for each in found:
            words = ", ".join(filter(None, (each.id, each.zone or each.region, each.price)))
            finding = f"{words}: AWS has it, and the state does not know it"
            yield Check(f"{subject}: {each.kind}", "failed", finding, f"edge sweep {self._environment.arguments}")

    def _resolve(self, name: str) -> set[str] | None:
        """A name's addresses: from this machine's resolver, or from the local cloud's Route 53; None where nobody answers."""
        if self._environment.on_local_cloud:
            try:
                answer = self._client("route53", "us-east-1").test_dns_answer(
                    HostedZoneId=self._outputs["routing"]["hosted_zone_id"], RecordName=name, RecordType="A"
                )
            except (BotoCoreError, ClientError):
                return None
            return set(answer["RecordData"])
        try:
            return {str(each.address) for each in dns.resolver.resolve(name, "A", lifetime=_DNS_SECONDS)}
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return set()
        except dns.exception.DNSException:
            return None


def _tools(environment: "DeployedSites") -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    state: State = "ok" if sys.version_info >= _OLDEST_PYTHON else "failed"
    yield Check("Python", state, f"{version}, {sys.executable}", None if state == "ok" else "make PYTHON=python3.11 demo")
    pins = dict(_pins())
    wrong = [f"{name} {_installed(name) or 'is missing'}, not {pin}" for name, pin in pins.items() if _installed(name) != pin]
    mend = " ".join(
        [sys.executable, "-m pip install", *(f"{name}=={pin}" for name, pin in pins.items() if _installed(name) != pin)]
    )
    found = f"as pinned: pulumi {pins['pulumi']}, pulumi-aws {pins['pulumi-aws']}, pulumi-command {pins['pulumi-command']}"
    yield Check("packages", "failed", "; ".join(wrong), mend) if wrong else Check("packages", "ok", found)
    path, engine = environment.engine
    yield Check("Pulumi engine", "ok", f"{engine}, {path}")
    yield from _plugins(environment)
    if not shutil.which("ssh"):
        yield Check("ssh", "warning", "there is none: edge logs and edge ssh need it", "sudo apt-get install openssh-client")


def _plugins(environment: "DeployedSites") -> Iterator[Check]:
    """The engine's plugins: the official ones for AWS, the local cloud's own for itself, and never one for the other."""
    judge_plugin = _local_plugin if environment.on_local_cloud else _official_plugin
    return (
        judge_plugin(plugin, environment.plugin_home, environment.arguments) for plugin in needed_plugins(environment.plugin_home)
    )


def _local_plugin(plugin: Plugin, home: Path, arguments: str) -> Check:
    subject = f"plugin {plugin.name}"
    if plugin.path is None:
        return Check(subject, "failed", f"the local cloud's own {plugin.version} is not in {home}", f"edge up {arguments}")
    if not plugin.is_stand_in:
        finding = f"{plugin.path} is not the local cloud's own, and the engine would take it"
        return Check(subject, "failed", finding, "export PULUMI_IGNORE_AMBIENT_PLUGINS=true")
    return Check(subject, "ok", f"{plugin.version}, the local cloud's own")


def _official_plugin(plugin: Plugin, home: Path, arguments: str) -> Check:
    subject, install = f"plugin {plugin.name}", f"edge plan {arguments}   # its engine downloads it"
    if plugin.path is None:
        may_download = not os.environ.get("PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION")
        there = f" (there is {', '.join(plugin.others)})" if plugin.others else ""
        then = (
            "the engine downloads it at the next run, if it can"
            if may_download
            else "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION keeps the engine from downloading it"
        )
        finding = f"{plugin.version} is not in {home}{there}; {then}"
        allow = "" if may_download else "unset PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION; "
        return Check(subject, "warning" if may_download else "failed", finding, allow + install)
    if plugin.is_stand_in:
        mend = "exit   # and use another shell: in this one `edge env local` has led all to the local cloud"
        return Check(subject, "failed", f"{plugin.path} is the local cloud's own, and not for AWS", mend)
    if plugin.is_on_path:
        finding = f"{plugin.path} is on PATH and comes first, whatever its version; {plugin.version} is needed"
        return Check(subject, "warning", finding, f"export PULUMI_IGNORE_AMBIENT_PLUGINS=true; {install}")
    return Check(subject, "ok", f"{plugin.version}, {plugin.path}")


def _pins() -> Iterator[tuple[str, str]]:
    """What the program and its components need."""
    lists = (PROGRAM / "components" / "requirements.txt", PROGRAM / "requirements.txt")
    for line in "\n".join(each.read_text(encoding="utf-8") for each in lists).splitlines():
        name, found, pin = line.partition("#")[0].strip().partition("==")
        if found:
            yield name, pin


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _opt_in(zone: ZoneFacts) -> str:
    if not zone.is_local:
        return "in the parent Region, needs no opt-in"
    return f"{zone.group} is opted in" if zone.opted_in else f"{zone.group} is opted in by the next up (optIn: true), for good"


def _offer(name: str, zone_name: str, zone: ZoneFacts | None, region: RegionFacts) -> str | None:
    known, offered = region.types.get(name), region.offered.get(name)
    if zone is None or known is None or offered is None or zone_name not in offered:
        return None
    return f"is offered: {known.vcpus} vCPUs, {known.gpus} GPU, {known.gpu_mib} MiB"


def _age(newest: Image) -> str:
    return f"{newest.id}, {newest.days_old} days old"


def _short(problem: Problem) -> str:
    return problem.path.removeprefix(f"{PROJECT}:")


def _words(problem: Problem) -> str:
    return f"{problem.value}: {problem.reason}" if problem.value else problem.reason
