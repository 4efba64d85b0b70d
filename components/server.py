"""InferenceServer: the remote commands that converge one host to "this model is being served".

Readiness is a resource: the last command fails where no token comes back. Leaves out deletion: the instance is the unit of
deletion, and with it goes all that a command made.
"""

from typing import TypedDict

import pulumi
from pulumi_command import remote

from components.host_steps import ServingSpec, Step, dial_attempts, install_scripts, serving_steps

_PER_DIAL_SECONDS = 5
_GIVEN_SECRETS = {"weights", "proxy"}
"""The steps with secrets on standard input."""


class InferenceServerArgs(TypedDict):
    """What an InferenceServer is made from."""

    instance: pulumi.Resource
    """The instance; the commands are deleted with it."""
    instance_id: pulumi.Input[str]
    address: pulumi.Input[str]
    """The host's public address."""
    login: str
    """The login user of the AMI."""
    private_key: pulumi.Input[str]
    """The deployer's ed25519 private key, a secret."""
    host_key: pulumi.Input[str]
    """The public host key that the host must show."""
    spec: ServingSpec
    hugging_face_token: pulumi.Input[str] | None
    """A secret; it reaches the host on standard input of one step."""
    proxy_secrets: pulumi.Input[str] | None
    """Standard input of the step that starts the reverse proxy, a secret; not sent where there is none."""
    reachable_after: list[pulumi.Resource]
    """What makes the address reachable: none of it is in the data flow of a command."""


class InferenceServer(pulumi.ComponentResource):
    """One host that serves the model."""

    ready: pulumi.Output[str]
    """What the last step said; known only when the host serves."""

    def __init__(self, name: str, args: InferenceServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("edge-inference:index:InferenceServer", name, None, opts)
        self._args = args
        self._connection = remote.ConnectionArgs(
            host=args["address"],
            user=args["login"],
            private_key=args["private_key"],
            host_key=args["host_key"],
            dial_error_limit=dial_attempts(args["spec"].host.connect_budget_seconds),
            per_dial_timeout=_PER_DIAL_SECONDS,
        )
        step, archive = install_scripts()
        command = self._command(name, step, args["reachable_after"], stdin=archive)
        # The token's line is there also without a token: the script reads one.
        secrets: dict[str, pulumi.Input[str] | None] = {
            "weights": pulumi.Output.secret(pulumi.Output.concat(args["hugging_face_token"] or "", "\n")),
            "proxy": args["proxy_secrets"] if args["spec"].proxy else None,
        }
        for step in serving_steps(args["spec"]):
            command = self._command(name, step, [command], stdin=secrets.get(step.name))
        self.ready = command.stdout
        self.register_outputs({"ready": self.ready})

    def _command(self, name: str, step: Step, after: list[pulumi.Resource], stdin: pulumi.Input[str] | None) -> remote.Command:
        return remote.Command(
            f"{name}-{step.name}",
            connection=self._connection,
            create=pulumi.Output.from_input(self._args["instance_id"]).apply(step.on_instance),
            stdin=stdin,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=after,
                deleted_with=self._args["instance"],
                # The plugin shows in clear what a command that was given secrets wrote.
                additional_secret_outputs=["stdout", "stderr"] if step.name in _GIVEN_SECRETS else None,
            ),
        )
