"""What can go wrong in a way that a person can mend, each with an exit code. None of them is shown with a traceback."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class EdgeError(Exception):
    """A problem, with what to do about it. Exit code 1."""

    exit_code = 1
    log: Path | None = None
    """The log of the run that it ended, where there is one."""


class UsageError(EdgeError):
    """What was asked for does not exist or makes no sense, or a stack file cannot work: nothing was started. Exit code 2."""

    exit_code = 2


class NothingDeployedError(EdgeError):
    """Nothing is deployed: there is no stack, or nothing in it. Exit code 3."""

    exit_code = 3


class CloudNotRunningError(EdgeError):
    """The local cloud is needed and does not run. Exit code 4."""

    exit_code = 4


class EnvironmentBusyError(EdgeError):
    """Another run is at work on the environment. Exit code 5."""

    exit_code = 5


@dataclass(frozen=True)
class SiteFailure:
    """Why a site does not serve as the config says."""

    stage: str
    """The first stage that failed: network, host, image, model, healthy or routed."""
    reasons: tuple[str, ...]


class DeploymentFailedError(EdgeError):
    """The engine ended with errors, or a replica does not serve. Exit code 6.

    `errors` are the engine's own texts, `sites` the failed sites by zone.
    """

    exit_code = 6

    def __init__(self, operation: str, errors: Sequence[str], sites: Mapping[str, SiteFailure] | None = None) -> None:
        self.errors = tuple(errors)
        self.sites = dict(sites or {})
        self.summary: tuple[str, ...] = ()
        """Lines for a person's terminal: what serves all the same, and what to run."""
        super().__init__("\n".join(self.errors) or f"{operation} failed; the engine gave no reason")


DRIFT_EXIT_CODE = 7
"""Of `edge drift` where something differs: no error, and not nothing."""


class ProtectedError(EdgeError):
    """What was to be removed is protected. Exit code 8."""

    exit_code = 8


class ForeignAccountError(EdgeError):
    """The AWS credentials are of another account than the environment: nothing was changed. Exit code 9."""

    exit_code = 9


class OrphansError(EdgeError):
    """AWS has something of the deployment that its state does not know: a killed run made it. Exit code 10."""

    exit_code = 10


class CapacityError(EdgeError):
    """A zone has no GPU of the wanted type now; nothing was changed. Exit code 11."""

    exit_code = 11

    def __init__(self, text: str, zone: str, *, has_hosts: bool) -> None:
        self.zone = zone
        self.has_hosts = has_hosts
        """Whether hosts of the site run, which another type would stop."""
        super().__init__(text)


class InterruptedRunError(EdgeError):
    """The run was interrupted as asked; what was finished stays. Exit code 130.

    `times` is how often it was asked.
    """

    exit_code = 130

    def __init__(self, times: int, text: str = "interrupted; nothing was changed") -> None:
        self.times = times
        super().__init__(text)
