"""A shell that `edge env local` has led to the local cloud is refused by what means AWS: it would ask the wrong one, and leave a
stack there.

Looks at variables alone. Leaves out commands that mean the local cloud: such a shell is right for them.
"""

from collections.abc import Mapping
from pathlib import Path

from automation.engine import local
from automation.errors import UsageError

_OURS = (
    "PULUMI_BACKEND_URL", "PULUMI_HOME", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_OPTION_CWD", "PULUMI_SKIP_UPDATE_CHECK",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED", "EDGE_CLOUD_TOKEN", "HF_ENDPOINT",
)  # fmt: skip
"""What `edge env local` sets beside PATH, which may stay."""


def refuse_led_shell(environment: str, directory: Path, variables: Mapping[str, str]) -> None:
    """UsageError where this shell's variables lead to the local cloud; with the line that takes them away."""
    if variables.get("PULUMI_BACKEND_URL") != local.backend(directory):
        return
    set_here = [name for name in _OURS if name in variables]
    raise UsageError(
        f"'{environment}' is on AWS, and this shell is led to the local cloud: nothing was asked or changed\n"
        f"  -> unset {' '.join(set_here)}   # or another shell; edge ... {environment} --local rehearses it"
    )
