"""The stand-in commands, run as scripts run them: over SSH."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from host_rig import IMAGE, Instance, Rig, rig, write_model

from localcloud.hosts import registry
from localcloud.hosts.go_template import TemplateError, render

REPOSITORY = IMAGE.partition(":")[0]


def on_a_host(tmp_path: Path, scenario: Callable[[Rig, Instance], Awaitable[None]]) -> None:
    """Run a scenario on a booted host whose Docker runs."""

    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            await r.good(instance, "systemctl enable --now docker")
            await scenario(r, instance)

    asyncio.run(run())


def test_docker_is_stopped_and_disabled_until_it_is_started(tmp_path: Path) -> None:
    async def run() -> None:
        async with rig(tmp_path) as r:
            instance = await r.boot()
            assert await r.run(instance, "systemctl is-active docker") == (3, "inactive\n", "")
            assert await r.run(instance, "systemctl is-enabled docker.service") == (1, "disabled\n", "")
            status, _, err = await r.run(instance, "docker ps")
            assert status == 1
            assert err.startswith("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
            assert (await r.run(instance, f"docker run -d {IMAGE}"))[0] == 125
            assert (await r.run(instance, "systemctl start nginx"))[::2] == (
                5,
                "Failed to start nginx.service: Unit nginx.service not found.\n",
            )
            await r.good(instance, "sudo systemctl enable --now docker")
            assert (
                await r.good(instance, "systemctl is-active docker; docker info --format '{{.ServerVersion}}'")
                == "active\n25.0.6"
            )

    asyncio.run(run())


def test_pull_and_image_inspect(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        assert await r.run(instance, f"docker image inspect {IMAGE} --format x") == (
            1,
            "\n",
            f"Error response from daemon: No such image: {IMAGE}\n",
        )
        out = await r.good(instance, f"docker pull {IMAGE}")
        assert out.startswith("2.4.0: Pulling from huggingface/text-generation-inference\n")
        assert out.endswith(f"Status: Downloaded newer image for {IMAGE}\n{IMAGE}")
        assert await r.good(instance, f"docker pull -q {IMAGE}") == IMAGE
        digest = f"{REPOSITORY}@{registry.find(IMAGE).digest}"
        assert json.loads(await r.good(instance, f"docker image inspect {IMAGE}"))[0]["RepoDigests"] == [digest]
        await r.good(instance, f"docker pull -q {digest} && docker inspect --type image {digest}")
        status, _, err = await r.run(instance, f"docker pull {REPOSITORY}:does-not-exist")
        assert (status, err) == (1, "Error response from daemon: manifest unknown\n")
        assert "pull access denied for does-not-exist" in (await r.run(instance, "docker pull does-not-exist"))[2]

    on_a_host(tmp_path, scenario)


def test_a_container_is_inspected_listed_stopped_and_removed(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.serve(instance)
        inspect = "docker inspect --type container --format"
        assert await r.good(instance, f"{inspect} '{{{{.State.Status}}}} {{{{.State.Running}}}}' server") == "running true"
        shown = json.loads(await r.good(instance, "docker inspect server"))[0]
        assert shown["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert shown["Image"] == registry.find(IMAGE).id
        assert await r.good(instance, "docker ps -q --filter name=^/server$") == shown["Id"][:12]
        address = await r.good(instance, "docker port server 80/tcp")
        assert address == f"127.0.0.1:{r.hosts.doorways[instance.addresses[0], 8080].inside_port}"
        assert "Connected" in await r.good(instance, "docker logs --tail 1 server")
        everything = await r.good(instance, "docker logs server")
        started = shown["State"]["StartedAt"]
        assert await r.good(instance, f"docker logs --since 1h0.5s server; docker logs --since {started} server") == (
            f"{everything}\n{everything}"
        )
        assert await r.good(instance, "docker logs --since 0s server; docker logs --since 2999-01-01T00:00:00Z server") == ""
        status, _, err = await r.run(instance, "docker logs --since yesterday server")
        assert (status, 'failed to parse value as time or duration: "yesterday"' in err) == (1, True)
        status, _, err = await r.run(instance, f"docker run -d --name server {IMAGE}")
        assert status == 125
        assert 'Conflict. The container name "/server" is already in use' in err
        status, _, err = await r.run(instance, f"docker run -d --name other -p 8080:80 {IMAGE}")
        assert status == 125
        assert "Bind for 0.0.0.0:8080 failed: port is already allocated" in err
        assert (await r.run(instance, "docker rm server"))[0] == 1
        assert await r.good(instance, "docker stop -t 1 server; docker ps -a --format '{{.Names}} {{.Status}}'") == (
            "server\nserver Exited (0)\nother Created"
        )
        await r.closed(instance, 8080)
        assert await r.good(instance, "docker start server") == "server"
        await r.opened(instance, 8080)
        assert await r.good(instance, "docker rm -f server") == "server"
        await r.closed(instance, 8080)
        assert await r.run(instance, "docker rm -f server") == (0, "", "Error response from daemon: No such container: server\n")
        assert await r.run(instance, "docker inspect server") == (1, "[]\n", "Error: No such object: server\n")

    on_a_host(tmp_path, scenario)


def test_a_container_stopped_by_hand_stays_stopped_at_the_next_boot(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.serve(instance)
        await r.good(instance, "docker stop server && systemctl restart docker")
        assert await r.good(instance, "docker inspect -f '{{.State.Status}}' server") == "exited"

    on_a_host(tmp_path, scenario)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--gpus all IMAGE --model-id /model", 1, "config.json"),
        ("--gpus all IMAGE --modle-id /model", 2, "error: unexpected argument '--modle-id' found"),
        ("--gpus all IMAGE --port", 2, "error: a value is required for '--port <PORT>' but none was supplied"),
        ("--gpus all IMAGE --dtype half", 2, "error: invalid value 'half' for '--dtype <DTYPE>'"),
        ("--gpus all -e HF_HUB_OFFLINE=1 IMAGE --model-id meta-llama/Llama-3.2-3B", 1, "HF_HUB_OFFLINE"),
        ("--gpus all IMAGE --model-id meta-llama/Llama-3.2-3B", 1, "restricted"),
        ("IMAGE --model-id /model", 1, "GPU"),
    ],
)
def test_a_server_that_cannot_start_exits_and_says_why(tmp_path: Path, arguments: str, status: int, said: str) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, f"docker pull -q {IMAGE}")
        run = f'docker run -d --name srv -v "$EDGE_HOST_ROOT/opt/empty:/model" {arguments.replace("IMAGE", IMAGE)}'
        assert await r.good(instance, f"{run} >/dev/null; docker wait srv") == str(status)
        assert said in await r.good(instance, "docker logs srv")

    on_a_host(tmp_path, scenario)


def test_a_server_that_keeps_dying_is_started_again(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, f"docker pull -q {IMAGE}")
        await r.good(instance, f"docker run -d --name srv --restart unless-stopped --gpus all {IMAGE} --model-id /model")
        container = r.hosts.hosts["i-1"].docker.containers["srv"]
        while container.state.restarts < 2:
            await asyncio.wait_for(container.changed.wait(), 5)
        assert (
            await r.good(instance, "docker inspect -f '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}' srv")
            == "restarting true 1"
        )

    on_a_host(tmp_path, scenario)


def test_one_gpu_has_no_room_for_two_servers(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.serve(instance)
        run = f'docker run --rm --gpus all -v "$EDGE_HOST_ROOT/opt/edge-inference/model:/model:ro" {IMAGE} --model-id /model'
        status, out, _ = await r.run(instance, run)
        assert status == 1
        assert "CUDA out of memory" in out

    on_a_host(tmp_path, scenario)


def test_a_one_shot_container_runs_a_script_with_its_mounts(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, f"docker pull -q {IMAGE}")
        script = "import os, sys; print(open(os.environ['FILE']).read(), sys.argv[1], sys.stdin.read()); sys.exit(7)"
        await r.good(
            instance,
            f'mkdir -p $EDGE_HOST_ROOT/opt/d && echo -n in >$EDGE_HOST_ROOT/opt/d/f && echo "{script}" >$EDGE_HOST_ROOT/opt/s.py',
        )
        run = (
            'docker run --rm -i --name once -v "$EDGE_HOST_ROOT/opt/d:/data:ro" -v "$EDGE_HOST_ROOT/opt/s.py:/s.py" '
            f"-e FILE=/data/f --entrypoint python3 {IMAGE} /s.py --to=/data"
        )
        status, out, _ = await r.run(instance, run, "typed")
        assert (status, out) == (7, f"in --to={r.hosts.hosts['i-1'].root}/opt/d typed\n")
        assert await r.good(instance, "docker ps -aq") == ""

    on_a_host(tmp_path, scenario)


def test_a_pull_and_a_one_shot_end_with_their_caller(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, f"docker pull -q {IMAGE}")
        containers = r.hosts.hosts["i-1"].docker.containers
        run = f"docker run --rm --name once --entrypoint sleep {IMAGE} 1000"
        status, _, _ = await r.run(instance, f"timeout --kill-after=1 0.5 {run}")
        assert status == 124
        while containers:
            await asyncio.sleep(0.01)

    on_a_host(tmp_path, scenario)


def test_mistakes_are_answered_as_docker_answers_them(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(instance, f"docker pull -q {IMAGE}")
        for command, status, said in [
            ("docker frobnicate", 1, "docker: 'frobnicate' is not a docker command.\nSee 'docker --help'\n"),
            (f"docker run --frob {IMAGE}", 125, "unknown flag: --frob\nSee 'docker run --help'.\n"),
            (f"docker run -d --pull never {REPOSITORY}:9.9", 125,
             f"docker: Error response from daemon: No such image: {REPOSITORY}:9.9.\nSee 'docker run --help'.\n"),
            ("docker logs none", 1, "Error response from daemon: No such container: none\n"),
            ("docker image inspect -f '{{.Nope}}' " + IMAGE, 1,
             'template parsing error: template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"\n'),
        ]:  # fmt: skip
            assert (await r.run(instance, command))[::2] == (status, said)
        away = "env -u EDGE_HOST_ID docker ps"
        assert (await r.run(instance, away))[0] == 125

    on_a_host(tmp_path, scenario)


def test_vllm_refuses_bfloat16_on_a_t4_and_serves_in_half(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        image = "vllm/vllm-openai:v0.33.0"
        write_model(r.hosts.hosts["i-1"].root / "opt/m")
        await r.good(instance, f"docker pull -q {image}")
        run = f"docker run -d --gpus all -p 8080:8000 -v $EDGE_HOST_ROOT/opt/m:/model {{}} {image}"
        run += " /model --served-model-name org/m tgi"
        await r.good(instance, run.format("--name bad") + " --dtype bfloat16")
        assert await r.good(instance, "docker wait bad; docker logs bad | grep -c compute") == "1\n1"
        await r.good(instance, run.format("--name good") + " --dtype half --max-model-len 4096 --no-enable-prefix-caching")
        await r.opened(instance, 8080)
        body = '{"model": "tgi", "prompt": "Hello", "max_tokens": 1}'
        url = "http://$(docker port good 8000/tcp)/v1/completions"
        assert '"text":"This"' in await r.good(instance, f"curl -fsS {url} -H 'Content-Type: application/json' -d '{body}'")

    on_a_host(tmp_path, scenario)


def test_nvidia_smi(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        query = "nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader"
        assert await r.good(instance, query) == "Tesla T4, 15360 MiB, 580.95.05"
        assert await r.good(instance, query + ",nounits") == "Tesla T4, 15360, 580.95.05"
        assert (await r.run(instance, "nvidia-smi --query-gpu=nope --format=csv"))[0] == 2

    on_a_host(tmp_path, scenario)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.A.B}} {{ .C }}", "1 true"),
        ('{{index .L "k"}}|{{index .L "none"}}|', "v||"),
        ("{{json .L}}", '{"k":"v"}'),
        ("{{.M}} {{.L}} {{.N}}", "[x y] map[k:v] <no value>"),
    ],
)
def test_go_templates(template: str, text: str) -> None:
    data = {"A": {"B": 1}, "C": True, "L": {"k": "v"}, "M": ["x", "y"], "N": None}
    assert render(template, data) == text


@pytest.mark.parametrize("template", ["{{.Nope}}", "{{index .M 5}}", "{{frob .M}}", "{{end}}"])
def test_go_templates_that_cannot_be_filled(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, {"M": []})


def test_containers_are_renamed_and_unused_images_removed(tmp_path: Path) -> None:
    async def scenario(r: Rig, instance: Instance) -> None:
        await r.good(
            instance,
            f"docker pull -q {IMAGE}; for name in one two; do docker run -d --name $name --entrypoint sleep {IMAGE} 9; done",
        )
        status, _, err = await r.run(instance, "docker rename one two")
        assert status == 1
        assert 'The container name "/two" is already in use' in err
        assert (await r.run(instance, "docker rename nobody three"))[0] == 1
        await r.good(instance, "docker stop one; docker rename one three; docker start three")
        assert (await r.good(instance, "docker ps --format '{{.Names}}'")).split() == ["two", "three"]
        status, _, err = await r.run(instance, f"docker image rm {IMAGE}")
        assert status == 1
        assert "is using it" in err
        await r.good(instance, f"docker rm -f two three; docker image rm {IMAGE}")
        assert (await r.run(instance, f"docker image inspect {IMAGE}"))[0] == 1

    on_a_host(tmp_path, scenario)


def test_faults_of_a_zone_reach_disk_and_gpu(tmp_path: Path) -> None:
    faults: set[tuple[str, str]] = set()

    def has_fault(fault: str, zone: str) -> bool:
        return (fault, zone) in faults

    async def run() -> None:
        async with rig(tmp_path, has_fault=has_fault) as r:
            instance = await r.boot()
            free = "df --output=avail --block-size=1M / | tail -n 1"
            assert int(await r.good(instance, f"systemctl enable --now docker; {free}")) > 10_000
            faults.add(("full_disk", instance.zone))
            assert int(await r.good(instance, free)) < 1024
            faults.add(("no_flashinfer", instance.zone))
            write_model(r.hosts.hosts[instance.instance_id].root / "model")
            server = f"--gpus all -v /model:/model -e ATTENTION={{}} {IMAGE} --model-id /model"
            _, out, _ = await r.run(instance, f"docker run --rm {server.format('flashinfer')}")
            assert "no kernel image is available" in out
            await r.good(instance, f"docker run -d --name paged {server.format('paged')}")
            faults.add(("out_of_memory", instance.zone))
            _, out, _ = await r.run(instance, f"docker run --rm {server.format('paged')}")
            assert "CUDA out of memory" in out
            assert await r.good(instance, "docker inspect --format '{{.State.Status}}' paged") == "running"

    asyncio.run(run())
