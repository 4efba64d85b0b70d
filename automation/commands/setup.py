"""`edge keys`: what an environment needs before its first deployment."""

from collections.abc import Callable

from automation.commands.options import EnvironmentName, open_environment
from automation.errors import UsageError
from automation.terminal import say


def keys(env: EnvironmentName) -> None:
    """Make the deployer's SSH key and the host-key secret of an environment, and store them encrypted in its stack.

    Example: edge keys prod
    """
    from automation.keys import new_deployer_key, new_host_key_secret

    environment = open_environment(env, local=False)
    wanted: dict[str, Callable[[], str]] = {
        "edge-inference:sshPrivateKey": new_deployer_key,
        "edge-inference:hostKeySecret": new_host_key_secret,
    }
    missing = {key: make() for key, make in wanted.items() if not environment.has_config(key)}
    if not missing:
        raise UsageError(
            f"'{env}' has both keys already, and new ones would replace its hosts\n"
            "  -> to rotate on purpose: pulumi config rm edge-inference:sshPrivateKey, then this again"
        )
    environment.store_secrets(missing)
    for key in missing:
        say(f"made and stored {key}")
