"""The project's own steps on a real Docker engine: what they reach, what they leave alone, how each of them fails."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING

import pytest

from components.host_steps import serving_steps
from tests.engine.support import process_files, wait_for
from tests.host.deployer import CONTAINER, PORT, REVISION, Deployer, serving_spec
from tests.host.image.huggingface_hub import TOKEN
from tests.unit.plugins.driver import AbortedError

if TYPE_CHECKING:
    from components.host_steps import ServingSpec
    from tests.host import stand_in
    from tests.host.machine import Machine
    from tests.host.registry import Registry as RealRegistry
    from tests.host.stand_in import StandIn

    Host = Machine | StandIn
    Registry = RealRegistry | stand_in.Registry

pytestmark = pytest.mark.host

MODEL = "gated/model"
SPEC_AND_STATE = '{{index .Config.Labels "edge-inference.spec"}} {{.State.Status}}'
SERVE = ("weights", "ready")
STATUS = "{{.State.Status}}"
WEIGHTS = "edge-inference-weights"


@pytest.fixture(scope="module")
def spec(registry: Registry) -> ServingSpec:
    return serving_spec(registry.image, MODEL)


@pytest.fixture(scope="module")
def prepared(deployer: Deployer, spec: ServingSpec) -> Deployer:
    """A host with Docker and the image."""
    deployer.converge(spec, steps=("scripts", "prepare", "image"))
    return deployer


@pytest.fixture
def serving(prepared: Deployer, spec: ServingSpec) -> Deployer:
    """A host that serves, whatever the test before has left."""
    digest, _, state = prepared.machine.console(f"docker inspect --format '{SPEC_AND_STATE}' {CONTAINER}", check=False).partition(
        " "
    )
    if state != "running\n" or f'"digest":"{digest}"' not in serving_steps(spec)[-1].text:
        prepared.converge(spec, steps=SERVE)
    return prepared


def failure(deployer: Deployer, spec: ServingSpec, *steps: str, token: str = TOKEN) -> str:
    """What the last of some steps says, which must fail: without the command's own text, which comes first."""
    deployer.converge(spec, token, steps[:-1])
    with pytest.raises(AbortedError) as raised:
        deployer.step(spec, steps[-1], token)
    return str(raised.value).split("\n", 1)[1]


def containers(machine: Host) -> list[str]:
    return sorted(machine.console("docker ps --all --format '{{.Names}}'").split())


def test_a_bare_host_serves(deployer: Deployer, spec: ServingSpec, machine: Host) -> None:
    outputs = deployer.converge(spec)
    driver = machine.console("nvidia-smi --query-gpu=driver_version --format=csv,noheader").strip().rpartition(" ")[2]
    assert outputs["prepare"].splitlines() == [
        f"prepare-host: GPU Tesla T4, 15360 MiB, {driver}",
        f"prepare-host: Docker {machine.console('docker info --format {{.ServerVersion}}').strip()}",
    ]
    assert outputs["image"].startswith(f"pull-image: pulled {spec.process.image} in ")
    assert outputs["weights"].splitlines()[-1].startswith(f"fetch-weights: fetched {MODEL} at {REVISION} in ")
    *told, last = outputs["ready"].splitlines()
    assert told[0] == f"serve: started {MODEL} at {REVISION}"
    assert told[-1] == "serve: healthy, first token generated"
    assert json.loads(last)["changed"] is True
    assert '"token"' in deployer.generate()
    assert containers(machine) == [CONTAINER]


def test_again_restarts_nothing(serving: Deployer, spec: ServingSpec) -> None:
    before = serving.run
    outputs = serving.converge(spec)
    assert serving.run == before
    assert outputs["image"] == f"pull-image: {spec.process.image} is here already"
    assert outputs["weights"] == f"fetch-weights: {MODEL} at {REVISION} is here already"
    assert json.loads(outputs["ready"].splitlines()[-1])["changed"] is False


def test_a_changed_flag_restarts_and_nothing_is_fetched_again(serving: Deployer, registry: Registry) -> None:
    before = serving.run
    outputs = serving.converge(serving_spec(registry.image, MODEL, max_input_tokens=1000), steps=SERVE)
    assert serving.run != before
    assert "here already" in outputs["weights"]
    assert "1000" in json.loads(serving.inspect("{{json .Args}}"))


def test_an_image_pinned_by_digest_is_pulled_and_served(serving: Deployer, registry: Registry) -> None:
    pinned = serving_spec(registry.image_by_digest, MODEL)
    outputs = serving.converge(pinned, steps=("image", *SERVE))
    assert "first token generated" in outputs["ready"]
    assert serving.inspect("{{.Config.Image}}") == registry.image_by_digest
    assert serving.step(pinned, "image") == f"pull-image: {registry.image_by_digest} is here already"


@pytest.mark.usefixtures("serving")
def test_the_token_is_gone_when_the_server_runs(machine: Host) -> None:
    assert TOKEN not in machine.console(f"docker inspect {CONTAINER}; docker logs {CONTAINER}")
    assert machine.console(f"ls -A {machine.home}/secrets") == ""
    # The image's stand-in for the Hub knows whom to let in.
    assert [path for path in machine.files_with(TOKEN) if not path.endswith("/huggingface_hub.py")] == []
    assert [pid for name in ("cmdline", "environ") for pid, content in process_files(name) if TOKEN.encode() in content] == []


def test_while_weights_are_fetched_only_root_can_read_the_token(serving: Deployer, registry: Registry, machine: Host) -> None:
    endless = serving_spec(registry.image, "gated/never-arrives")

    def deploy() -> None:
        with pytest.raises(AbortedError):
            serving.step(endless, "weights")

    thread = threading.Thread(target=deploy)
    thread.start()
    wait_for(
        "the one-shot container",
        lambda: machine.console(f"docker inspect --format {STATUS} {WEIGHTS}", check=False) == "running\n",
    )
    folder, file = machine.console(
        f"stat --format '%a %U' {machine.home}/secrets {machine.home}/secrets/hugging-face-token"
    ).splitlines()
    assert TOKEN not in machine.console(f"docker inspect {WEIGHTS}")
    seen = [pid for name in ("cmdline", "environ") for pid, content in process_files(name) if TOKEN.encode() in content]
    machine.console(f"docker rm -f {WEIGHTS}")
    thread.join()
    assert (folder, file) == (f"700 {machine.owner}", f"600 {machine.owner}")
    assert seen == []
    assert machine.console(f"ls -A {machine.home}/secrets") == ""


def test_docker_started_anew_brings_the_server_back(serving: Deployer, machine: Host) -> None:
    before = serving.run
    machine.console("systemctl restart docker")
    wait_for("the server", lambda: "200" in machine.console(f"curl -sSi http://{machine.reach(PORT)}/health", check=False))
    assert serving.run[0] == before[0]
    assert serving.run != before


def test_a_power_cut_and_a_boot_bring_the_server_back(serving: Deployer, spec: ServingSpec, machine: Host) -> None:
    """Without the token, which is nowhere on the host, and without a network to any Hub."""
    before = serving.run
    machine.cut_power()
    machine.boot()
    machine.wait_until_booted()
    wait_for("the server", lambda: "200" in machine.console(f"curl -sSi http://{machine.reach(PORT)}/health", check=False))
    assert serving.run[0] == before[0]
    after = serving.run
    serving.converge(spec, steps=SERVE)
    assert serving.run == after


def test_an_image_that_does_not_exist(serving: Deployer, registry: Registry) -> None:
    before = serving.run
    name = registry.missing_image
    said = failure(serving, serving_spec(name, MODEL), "image")
    assert "manifest unknown" in said.lower() or "not found" in said, said
    assert f"pull-image failed: {name} was not pulled\n  -> " in said
    assert said.endswith(f"sudo docker pull {name}\n")
    assert serving.run == before


def test_a_registry_that_does_not_answer(serving: Deployer, registry: Registry, machine: Host) -> None:
    name = registry.image_that_never_arrives
    said = failure(serving, serving_spec(name, MODEL, budget_seconds=1), "image")
    assert f"pull-image: pulling {name}: given up after 1 s" in said
    assert f"pull-image failed: {name} was not pulled" in said
    assert "docker pull" not in machine.commands


@pytest.mark.parametrize("token", ["", "hf_no-licence_but_secret"])
def test_a_gated_model_without_a_licence(serving: Deployer, registry: Registry, machine: Host, token: str) -> None:
    before = serving.run
    model = f"gated/other-{len(token)}"
    said = failure(serving, serving_spec(registry.image, model), "weights", token=token)
    assert re.search(r"GatedRepoError: 40[13] Client Error. Cannot access gated repo", said), said
    assert (
        f"fetch-weights failed: the weights of {model} at {REVISION} were not fetched\n  -> gated model: accept its licence"
        in said
    )
    assert not token or token not in said
    assert machine.console(f"ls -A {machine.home}/secrets") == ""
    assert serving.run == before
    assert "fetched" in serving.step(serving_spec(registry.image, model), "weights")


def test_weights_that_never_arrive_leave_nothing_behind(serving: Deployer, registry: Registry, machine: Host) -> None:
    before = serving.run
    said = failure(serving, serving_spec(registry.image, "gated/never-arrives", budget_seconds=2), "weights")
    assert "fetch-weights: fetching gated/never-arrives: given up after 2 s" in said
    assert f"fetch-weights failed: the weights of gated/never-arrives at {REVISION} were not fetched" in said
    assert serving.run == before
    assert containers(machine) == [CONTAINER]
    assert machine.console(f"ls -A {machine.home}/secrets") == ""


def test_a_server_that_dies_at_once(prepared: Deployer, registry: Registry) -> None:
    """It fails long before its budget, and again when it is tried again: it is never taken for one that runs."""
    dying = serving_spec(registry.image, "acme/dies", budget_seconds=600)
    for _ in range(2):
        said = failure(prepared, dying, *SERVE)
        assert "torch.OutOfMemoryError: CUDA out of memory." in said
        assert "serve failed: the server's container" in said
        assert "above are the last lines of the server's log; " in said
        assert "-> sudo docker logs --tail 200 edge-inference-server" in said


def test_a_server_that_never_gets_healthy(prepared: Deployer, registry: Registry) -> None:
    said = failure(prepared, serving_spec(registry.image, "acme/never-healthy", budget_seconds=2), *SERVE)
    assert "using attention" in said.lower()
    assert "serve failed: not healthy within 2 s; above are the last lines" in said


def test_a_server_that_generates_nothing(prepared: Deployer, registry: Registry) -> None:
    said = failure(prepared, serving_spec(registry.image, "acme/no-token"), *SERVE)
    assert "serve failed: healthy, but no token was generated; above are the last lines" in said


def test_a_port_that_something_else_has(serving: Deployer, registry: Registry, machine: Host) -> None:
    sleep = f"--entrypoint python3 {registry.image} -c 'import time; time.sleep(600)'"
    machine.console(f"docker run -d --name other -p 9090:80 {sleep}")
    said = failure(serving, serving_spec(registry.image, MODEL, port=9090), "ready")
    machine.console("docker rm -f other")
    assert "port is already allocated" in said, said
    assert "serve failed: the server's container did not start: " in said
    assert "the server before it serves again" in said
    assert "first token" in serving.converge(serving_spec(registry.image, MODEL), steps=SERVE)["ready"]
    assert containers(machine) == [CONTAINER]


@pytest.mark.real_only("Docker of the local cloud has no runtimes")
def test_docker_without_the_gpu_runtime(prepared: Deployer, registry: Registry, machine: Host) -> None:
    hook = "/usr/local/bin/nvidia-container-runtime-hook"
    machine.console(f"mv {hook} /root; systemctl restart docker")
    said = failure(prepared, serving_spec(registry.image, MODEL, max_input_tokens=999), "ready")
    machine.console(f"mv /root/{hook.rpartition('/')[2]} {hook}; systemctl restart docker")
    assert "could not select device driver" in said
    assert "serve failed: the server's container did not start" in said


def test_a_driver_that_does_not_answer(prepared: Deployer, registry: Registry, machine: Host) -> None:
    machine.switch("no-driver", on=True)
    said = failure(prepared, serving_spec(registry.image, MODEL, budget_seconds=2), "prepare")
    machine.switch("no-driver", on=False)
    assert said.startswith("prepare-host failed: nvidia-smi does not answer within 2 s\n  -> ")


@pytest.mark.real_only("hosts of the local cloud have no loopback of their own: their docker tells the port of this machine")
def test_docker_tells_where_it_published_a_port(serving: Deployer) -> None:
    assert serving.machine.console(f"docker port {CONTAINER} 80/tcp").splitlines()[0] == f"0.0.0.0:{PORT}"


def test_what_the_scripts_read_of_docker(serving: Deployer, registry: Registry, machine: Host) -> None:
    assert serving.inspect("{{.RestartCount}} {{.State.Status}}") == "0 running"
    assert serving.inspect('{{index .Config.Labels "no-such-label"}}') == ""
    # Without a GPU, or without weights.
    machine.console(f"docker run -d --name dying --restart unless-stopped {registry.image} --model-id /none")
    wait_for("a restart", lambda: serving.inspect("{{.RestartCount}}", "dying") not in {"0", "1"})
    wait_for("the pause", lambda: serving.inspect("{{.State.Status}} {{.State.Running}}", "dying") == "restarting true")
    machine.console("docker rm -f dying")
