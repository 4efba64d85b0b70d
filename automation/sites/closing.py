"""What `up` asks at its end: whether every replica serves, and whether every name leads to one.

A replica that does not serve ends the run with DeploymentFailedError. A name is a warning where nobody can tell, or where the
zone is not delegated, and an error where its own name servers answer something else.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from automation.engine.results import ResourceChange
from automation.errors import DeploymentFailedError, SiteFailure
from automation.sites.endpoints import Ports
from automation.sites.serving import Answer, Asker, Replica, replicas
from components.settings import StackConfig, validate

_PATIENCE_SECONDS = 10.0
"""For a server that a step has just touched."""
Warn = Callable[[str], None]


class Deployed(Ports, Protocol):
    """What is asked of an Environment."""

    @property
    def arguments(self) -> str:
        """How `edge` is told of it."""
        ...

    def aws_client(self, service: str, region: str) -> Any:
        """A boto3 client of the account that it lives in."""
        ...

    def dns_port(self) -> int | None:
        """The port of the local cloud's DNS server on loopback; None on AWS."""
        ...


def require_serving(  # noqa: PLR0913 - what is asked, and by what
    environment: Deployed,
    outputs: Mapping[str, Any],
    config: StackConfig,
    changes: tuple[ResourceChange, ...],
    warn: Warn,
    *,
    answers_for: Callable[[Replica], bool] = lambda _: True,
) -> None:
    """Asks those that the run `answers_for`, all at once. DeploymentFailedError where one does not serve, or a name leads
    elsewhere.
    """
    asked = [each for each in replicas(outputs) if answers_for(each)]
    with ThreadPoolExecutor(1) as pool:
        names = pool.submit(_names, environment, outputs)
        answers = Asker(environment, config).ask_all(asked, patience=_patience(asked, config, changes))
        wrong, unsure = names.result()
    for line in unsure:
        warn(line)
    if on_hosts := [key for key, answer in answers.items() if answer.serves and answer.on_host]:
        warn(f"asked on the host, since access.clientCidrs does not hold this machine: {', '.join(on_hosts)}")
    dead = {each: answers[each.key] for each in asked if not answers[each.key].serves}
    if dead or wrong:
        sites: dict[str, SiteFailure] = {}
        for each, answer in dead.items():
            reasons = (*(sites[each.zone].reasons if each.zone in sites else ()), f"{each.key}: {answer.finding}")
            sites[each.zone] = SiteFailure("healthy", reasons)
        raise DeploymentFailedError("up", [*(_remedy(environment, *one) for one in dead.items()), *wrong], sites)


def _patience(asked: list[Replica], config: StackConfig, changes: tuple[ResourceChange, ...]) -> dict[str, float]:
    """How long each replica may take: one whose machine was changed starts and loads its model anew."""
    host = validate(config).host
    changed = {each.name.removesuffix("-host") for each in changes if each.kind == "Instance"}
    starting = float(host.ready_budget_seconds) if host else _PATIENCE_SECONDS
    return {each.key: starting if each.key in changed else _PATIENCE_SECONDS for each in asked}


def _remedy(environment: Deployed, replica: Replica, answer: Answer) -> str:
    number = f" --replica {replica.number}" if replica.number > 1 else ""
    where = f"{environment.arguments} {replica.zone}{number}"
    if answer.reached:
        lines = f"  -> edge logs {where}   # what its server says; edge restart {where}"
    else:
        lines = f"  -> edge doctor {environment.arguments}   # may this machine call it? edge ssh {where}"
    return f"{replica.key} does not serve: {answer.finding}\n{lines}"


def _names(environment: Deployed, outputs: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What names lead elsewhere, and what could not be made sure of."""
    from automation.sites.names import ask_names, delegation, name_servers

    routing: Mapping[str, Any] = outputs.get("routing") or {}
    zone_id: str | None = routing.get("hosted_zone_id")
    if not zone_id:
        return [], []
    unsure: list[str] = []
    port = environment.dns_port()
    if port is not None:
        servers = [("127.0.0.1", port)]
    else:
        route53 = environment.aws_client("route53", "us-east-1")
        servers = name_servers(route53, zone_id)
        state, finding, fix = delegation(route53, zone_id)
        unsure += [f"{finding}\n{fix}"] if state == "failed" else []
    answers = list(ask_names(outputs, servers))
    unsure += [each.finding for each in answers if each.told is None]
    fix = f"  -> edge drift {environment.arguments}   # then: edge up {environment.arguments}"
    return [f"{each.finding}\n{fix}" for each in answers if each.told is not None and not each.is_right], unsure
