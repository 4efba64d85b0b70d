"""Starts a site's servers anew, by hand, one replica after another: the containers on its hosts, without the engine.

Left out: changes of the config, and hosts that are stopped or gone; `edge up` mends those.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from automation.engine.locks import only_run
from automation.errors import DeploymentFailedError, SiteFailure
from automation.sites.hosts import find_host, run, ssh
from automation.sites.serving import Asker, Replica, replicas
from components.settings import StackConfig, validate

if TYPE_CHECKING:
    from automation.engine.deployed import Deployed, Say

_RESTART_SECONDS = 120.0
_RESTART = (
    "sudo docker restart --time 30 edge-inference-server >/dev/null && "
    "{ ! sudo docker inspect --type container edge-inference-proxy >/dev/null 2>&1 || "
    "sudo docker restart edge-inference-proxy >/dev/null; } && echo restarted"
)
_READY_SECONDS = 1800.0


def restart(environment: "Deployed", zone: str, number: int | None, say: "Say") -> None:
    """Returns when each of them has generated a token. UsageError for a zone or replica that is not there, DeploymentFailedError
    (exit code 6) for one that cannot be restarted, or does not serve afterwards; those after it are left as they are.
    """
    with only_run(environment.logs, environment.name, "restart"):
        config = environment.stack_config()
        asker = Asker(environment, config)
        for replica in _chosen(environment, zone, number):
            say(f"{replica.key}: restarting its server; requests that run there are cut off")
            _restart(environment, replica, config)
            answer = asker.ask_patiently(replica, _budget_seconds(config))
            if not answer.serves:
                raise _failure(environment, replica, f"was restarted, and does not serve: {answer.finding}", "edge logs")
            say(f"{replica.key}: {answer.finding}")


def _chosen(environment: "Deployed", zone: str, number: int | None) -> Iterator[Replica]:
    """The replicas of a zone, or the one; UsageError where there is none."""
    find_host(environment, zone, number or 1)
    return (each for each in replicas(environment.outputs()) if each.zone == zone and number in {None, each.number})


def _restart(environment: "Deployed", replica: Replica, config: StackConfig) -> None:
    host = find_host(environment, replica.zone, replica.number)
    with ssh(environment, host, config) as command:
        done = run(command, _RESTART, seconds=_RESTART_SECONDS)
    if not done:
        raise _failure(environment, replica, "has no server to restart, or its host does not take SSH", "edge up")


def _budget_seconds(config: StackConfig) -> float:
    host = validate(config).host
    return float(host.ready_budget_seconds) if host else _READY_SECONDS


def _failure(environment: "Deployed", replica: Replica, reason: str, verb: str) -> DeploymentFailedError:
    where = f"{environment.arguments} {replica.zone}" if verb == "edge logs" else environment.arguments
    text = f"{replica.key} {reason}\n  -> {verb} {where}"
    return DeploymentFailedError("restart", [text], {replica.zone: SiteFailure("healthy", (reason,))})
