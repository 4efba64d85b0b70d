"""InferenceServer: the remote commands that converge one host to "this model is being served".

Readiness is a resource: the last command fails where no token comes back. Leaves out deletion: the instance is the unit of
deletion, and with it goes all that a command made.
"""

from copy import copy
from typing import NotRequired, TypedDict

import pulumi
from pulumi_command import remote

from components.args import EndpointArgs, HostArgs, RolloutArgs, ServerArgs, endpoint_port, require_known
from components.defaults import PROXY_IMAGE
from components.engines import Server, server_process
from components.host_steps import Host, Rollout, ServingSpec, Step, dial_attempts, install_scripts, serving_steps
from components.order import after
from components.proxy import Proxy, secret_lines, secrets_digest

_PER_DIAL_SECONDS = 5
_GIVEN_SECRETS = {"weights", "proxy"}
"""The steps with secrets on standard input."""


class InferenceServerArgs(TypedDict):
    """What an InferenceServer is made from."""

    instance_id: pulumi.Input[str]
    """Id of the host's instance; another one makes every step run again."""
    address: pulumi.Input[str]
    """The host's public address. It must depend on all that makes it reachable: association, route, security group rules."""
    private_key: pulumi.Input[str]
    """OpenSSH private key (ed25519, without a passphrase) of the deployer. A secret; the component seals it."""
    host_key: pulumi.Input[str]
    """Public SSH host key that the host must show: `ssh-ed25519 AAAA...`."""
    server: NotRequired[ServerArgs]
    """What is served. Default: see ServerArgs."""
    host: NotRequired[HostArgs]
    """How the host is reached, and how long each step may take. Default: see HostArgs."""
    endpoint: NotRequired[EndpointArgs]
    """How the host is called. Default: plain HTTP on port 8080, without a key."""
    rollout: NotRequired[RolloutArgs]
    """How the host changes its server. Default: see RolloutArgs."""
    hugging_face_token: NotRequired[pulumi.Input[str]]
    """Read token for a gated model. A secret; the component seals it, and it reaches the host on standard input of the step that
    fetches the weights. Default: none."""


class InferenceServer(pulumi.ComponentResource):
    """One host that serves the model. The name begins those of all children.

    Token `edge-inference:index:InferenceServer`. Children: six `command.remote.Command`, one after the other. They go with the
    resource that the component's own option `deleted_with` names: the instance.
    """

    ready: pulumi.Output[str]
    """What the last step said; known only when the host serves."""
    address: pulumi.Output[str]
    """The host's public address. Who uses it comes after the last step: a DNS record, a health check."""

    def __init__(self, name: str, args: InferenceServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        require_known(name, args, InferenceServerArgs)
        require_known(name, args.get("endpoint", {}), EndpointArgs)
        opts = copy(opts) if opts else pulumi.ResourceOptions()
        # The commands alone go with the instance. A component that would is skipped by the engine when the instance fails, and
        # its outputs then end the whole run (engine 3.230: "registration isn't pending").
        self._deleted_with, opts.deleted_with = opts.deleted_with, None
        super().__init__("edge-inference:index:InferenceServer", name, None, opts)
        spec, endpoint = serving_spec(args), args.get("endpoint", {})
        self._connection = remote.ConnectionArgs(
            host=args["address"],
            user=spec.host.login_user,
            private_key=pulumi.Output.secret(args["private_key"]),
            host_key=args["host_key"],
            dial_error_limit=dial_attempts(spec.host.connect_budget_seconds),
            per_dial_timeout=_PER_DIAL_SECONDS,
        )
        # The token's line is there also without a token: the script reads one.
        secrets = {"weights": pulumi.Output.secret(pulumi.Output.concat(args.get("hugging_face_token", ""), "\n"))}
        digest = pulumi.Output.from_input("")
        if spec.proxy:
            lines = secrets["proxy"] = _proxy_secrets(endpoint)
            known = pulumi.Output.all(args["private_key"], lines)
            digest = pulumi.Output.unsecret(known.apply(lambda known: secrets_digest(*known)))
        # A public key is no secret, whatever it is derived from.
        host_key = pulumi.Output.unsecret(pulumi.Output.from_input(args["host_key"]))
        self._of_instance = pulumi.Output.all(args["instance_id"], digest, host_key)
        step, archive = install_scripts()
        command = self._command(name, step, None, archive)
        for step in serving_steps(spec):
            command = self._command(name, step, command, secrets.get(step.name))
        self.ready = command.stdout
        self.address = after(args["address"], command.urn)
        self.register_outputs({"ready": self.ready, "address": self.address})

    def _command(self, name: str, step: Step, before: remote.Command | None, stdin: pulumi.Input[str] | None) -> remote.Command:
        return remote.Command(
            f"{name}-{step.name}",
            connection=self._connection,
            create=self._of_instance.apply(lambda known: step.on_instance(*known)),
            stdin=stdin,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=before,
                deleted_with=self._deleted_with,
                # The plugin shows in clear what a command that was given secrets wrote.
                additional_secret_outputs=["stdout", "stderr"] if step.name in _GIVEN_SECRETS else None,
            ),
        )


def serving_spec(args: InferenceServerArgs) -> ServingSpec:
    """What the host is to serve, with what holds where the arguments are silent."""
    server, endpoint = Server(**args.get("server", {})), args.get("endpoint", {})
    return ServingSpec(
        server,
        Host(**args.get("host", {})),
        endpoint_port(endpoint),
        _proxy(endpoint, server_process(server).health_path),
        Rollout(**args.get("rollout", {})),
    )


def _proxy(endpoint: EndpointArgs, health_path: str) -> Proxy | None:
    tls = endpoint.get("tls")
    if tls is None and not endpoint.get("api_keys"):
        return None
    return Proxy(
        image=endpoint.get("proxy_image", PROXY_IMAGE),
        name=tls["name"] if tls else "localhost",
        port=endpoint_port(endpoint),
        tls=tls is not None,
        key_names=tuple(endpoint.get("api_keys", {})),
        health_path=health_path,
    )


def _proxy_secrets(endpoint: EndpointArgs) -> pulumi.Output[str]:
    tls = endpoint.get("tls")
    pair = (tls["certificate"], tls["private_key"]) if tls else ("", "")
    given = pulumi.Output.all(*pair, *endpoint.get("api_keys", {}).values())
    return pulumi.Output.secret(given.apply(lambda known: secret_lines(*known)))
