"""What deploys to a machine: the project's own steps, through the `command` plugin, over real SSH."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from components.engines import Server
from components.host_steps import Host, ServingSpec, dial_attempts, install_scripts, serving_steps
from localcloud.plugins.command import CommandPlugin
from localcloud.plugins.values import Secret, reveal
from tests.host.image.huggingface_hub import TOKEN
from tests.host.machine import LOGIN
from tests.unit.plugins.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localcloud.plugins.values import Properties
    from tests.host.machine import Machine
    from tests.host.stand_in import StandIn

COMMAND = "command:remote:Command"
CONTAINER = "edge-inference-server"
PORT = 8080
REVISION = "0123456789abcdef0123456789abcdef01234567"
STEPS = ("scripts", "prepare", "image", "weights", "proxy", "ready")
BUDGETS = ("boot_budget_seconds", "image_budget_seconds", "weights_budget_seconds", "ready_budget_seconds")


def serving_spec(
    image: str, model: str, budget_seconds: int = 60, port: int = PORT, max_input_tokens: int = Server.max_input_tokens
) -> ServingSpec:
    """What to serve; the budgets may be shorter than a stack's config may make them."""
    server = Server(image=image, model=model, revision=REVISION, max_input_tokens=max_input_tokens)
    return ServingSpec(server, replace(Host(), **dict.fromkeys(BUDGETS, budget_seconds)), port)


@dataclass
class Deployer:
    """Someone with the deployer's key who knows the host key that the machine must show."""

    machine: Machine | StandIn
    private_key: str = field(repr=False)
    host_key: str
    driver: Driver = field(default_factory=lambda: Driver(CommandPlugin("127.0.0.1:1")))

    def command(self, text: str, stdin: str | None = None, **connection: object) -> Properties:
        """State of a `remote.Command` that was created; AbortedError with its message where it failed."""
        given: Properties = {
            "connection": {
                "host": self.machine.address,
                "port": self.machine.ssh_port,
                "user": LOGIN,
                "privateKey": self.private_key,
                "hostKey": self.host_key,
                "dialErrorLimit": dial_attempts(60),
                "perDialTimeout": 5,
                **connection,
            },
            "create": text,
            "addPreviousOutputInEnv": False,
        }
        if stdin is not None:
            given["stdin"] = Secret(stdin)
        with self.machine.network():
            _, _, state = self.driver.made(COMMAND, given)
        return state

    def output(self, text: str, stdin: str | None = None, **connection: object) -> str:
        """What a command wrote to its standard output."""
        return str(reveal(self.command(text, stdin, **connection)["stdout"]))

    def step(self, spec: ServingSpec, name: str, token: str = TOKEN, stdin: str | None = None) -> str:
        """Output of one step; `stdin` is what `proxy` is given."""
        self.machine.expects(spec)
        if name == "scripts":
            step, stdin = install_scripts()
        else:
            step = next(step for step in serving_steps(spec) if step.name == name)
            stdin = f"{token}\n" if name == "weights" else stdin if spec.proxy else None
        return self.output(step.on_instance("i-0123456789abcdef0"), stdin)

    def converge(self, spec: ServingSpec, token: str = TOKEN, steps: Sequence[str] = STEPS) -> dict[str, str]:
        """Outputs of the steps, as a deployment runs them, until one fails."""
        return {name: self.step(spec, name, token) for name in steps}

    def inspect(self, template: str, container: str = CONTAINER) -> str:
        """A container's property by Docker's own word."""
        return self.machine.console(f"docker inspect --type container --format '{template}' {container}").strip()

    @property
    def run(self) -> tuple[str, str]:
        """Which start of which container it is."""
        return cast("tuple[str, str]", tuple(self.inspect("{{.Id}} {{.State.StartedAt}}").split()))

    def generate(self) -> str:
        """An answer of the server, streamed, as a user gets it."""
        session = requests.Session()
        # A doorway of the local cloud opens a moment later than the server is ready.
        session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.05)))
        url = f"http://{self.machine.reach(PORT)}/generate_stream"
        with self.machine.network(), session:
            answer = session.post(url, json={"inputs": "What is the edge?"}, timeout=10)
        answer.raise_for_status()
        return answer.text
