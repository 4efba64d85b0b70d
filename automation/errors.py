"""What can go wrong in a way that a person can mend, each with an exit code. None of them is shown with a traceback."""

from collections.abc import Sequence


class EdgeError(Exception):
    """A problem with what to do about it. Exit code 1."""

    exit_code = 1


class UsageError(EdgeError):
    """What was asked for does not exist or makes no sense. Exit code 2."""

    exit_code = 2


class NothingDeployedError(EdgeError):
    """There is no stack, or nothing in it. Exit code 3."""

    exit_code = 3


class CloudNotRunningError(EdgeError):
    """The local cloud is needed and does not run. Exit code 4."""

    exit_code = 4


class EnvironmentBusyError(EdgeError):
    """Another run holds the environment's stack. Exit code 5."""

    exit_code = 5


class DeploymentFailedError(EdgeError):
    """The engine ended with errors; `errors` are its own texts. Exit code 6."""

    exit_code = 6

    def __init__(self, operation: str, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors) or f"{operation} failed; the engine gave no reason")
