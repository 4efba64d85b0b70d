"""The cloud as a process: start, stop, what a crash leaves behind, the control interface, the Hub."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
import requests
from host_rig import LOGIN, launch

from localcloud import client, hub


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("cloud")
    yield path
    client.stop(path)


@pytest.fixture(scope="module")
def cloud(directory: Path) -> client.CloudStatus:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return client.start(directory, port=port)


def test_control_interface(cloud: client.CloudStatus) -> None:
    dns_port = cloud.request("GET", "dns")["port"]
    assert cloud.request("GET", "status") == {"world": cloud.world, "hosts": [], "problems": [], "dns_port": dns_port}
    assert cloud.request("GET", "ports/127.1.2.3/22") == {"port": 20022}
    assert cloud.request("GET", "ports/127.1.2.3/8080") == {"port": 8080}
    assert cloud.request("PUT", "model", {"token_ms": 1})["token_ms"] == 1
    assert cloud.request("GET", "network")["cities"]["Honolulu"]["address"] == "127.200.2.1"
    with pytest.raises(client.CloudError, match="unknown timing 'speed'"):
        cloud.request("PUT", "model", {"speed": 1})
    with pytest.raises(client.CloudError, match="no control GET nothing"):
        cloud.request("GET", "nothing")


def test_hub(cloud: client.CloudStatus) -> None:
    name = "meta-llama/Llama-3.2-3B-Instruct"
    token = cloud.keys.hub_token
    told = cloud.request("GET", f"hub/{token}/api/models/{name}")
    assert (told["gated"], told["sha"]) == ("manual", "0cb88a4f764b7a12671c53f0838cd831a0843b95")
    assert told["safetensors"]["parameters"] == {"BF16": 3_212_749_824}
    assert cloud.request("GET", f"hub/{token}/api/models/Qwen/Qwen2.5-0.5B-Instruct")["gated"] is False
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cloud.variables['HF_ENDPOINT']}/api/models/who/knows")  # noqa: S310
    assert (refused.value.code, json.load(refused.value)) == (401, {"error": "Repository not found"})


@pytest.mark.parametrize(("token", "status"), [("hf_good", 200), ("hf_no-licence", 403), ("nonsense", 401), ("", 401)])
def test_hub_tells_whether_a_token_opens_a_model(cloud: client.CloudStatus, token: str, status: int) -> None:
    url = f"{cloud.variables['HF_ENDPOINT']}/api/models/meta-llama/Llama-3.2-3B/auth-check"
    answer = requests.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=30)
    assert answer.status_code == status
    assert not token or token not in answer.text


def test_hub_access() -> None:
    gated, free = "meta-llama/Llama-3.2-3B", "Qwen/Qwen2.5-0.5B-Instruct"
    hub.check_access(free, None)
    hub.check_access(gated, "hf_x", "13afe5124825b4f3751f836b40dafda64c1ed062")
    for name, token, revision, code in [
        (gated, None, "main", "GatedRepo"),
        ("who/knows", None, "main", "RepoNotFound"),
        (free, None, "nope", "RevisionNotFound"),
        (free, "wrong", "main", ""),
    ]:
        with pytest.raises(hub.HubError) as refused:
            hub.check_access(name, token, revision)
        assert refused.value.code == code


def test_start_returns_the_cloud_that_runs(cloud: client.CloudStatus, directory: Path) -> None:
    assert cloud.fresh
    again = client.start(directory)
    assert (again.world, again.fresh) == (cloud.world, False)
    with pytest.raises(client.CloudError, match=f"runs on port {cloud.port} already"):
        client.start(directory, port=1)


def test_a_port_in_use_is_a_plain_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(client.CloudError, match=f"port {port} cannot be used"):
            client.start(tmp_path, port=port)
        command = [sys.executable, "-m", "localcloud", "start", "--directory", str(tmp_path), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: port {port} cannot be used")
        assert done.stderr.count("\n") == 1


def test_a_port_that_there_is_not_is_a_plain_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "localcloud", "start", "--directory", str(tmp_path), "--port", "70000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: port 70000 cannot be used: ports go from 0 (any free one) to 65535\n")


def test_a_directory_that_cannot_be_used_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(client.CloudError, match="cannot be used"):
        client.start(tmp_path / "file")


def test_what_an_earlier_cloud_left_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    described = {"world": "w", "pid": os.getpid(), "port": 1, "url": "http://127.0.0.1:1", "started": ""}
    for text in ("", "{", json.dumps(described), json.dumps({**described, "pid": 2**22})):
        (tmp_path / "cloud.json").write_text(text)
        assert client.status(tmp_path) is None
        assert client.stop(tmp_path) is False


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except FileNotFoundError:
        return True


def test_a_killed_cloud_leaves_no_process_and_the_next_one_tells_what_is_lost(cloud: client.CloudStatus, directory: Path) -> None:
    address = launch(cloud)

    async def run() -> int:
        while True:  # the host boots
            try:
                connection = await asyncssh.connect(
                    address, 20022, username="ec2-user", client_keys=[LOGIN], known_hosts=None, config=None
                )
                break
            except OSError:
                await asyncio.sleep(0.05)
        process = await connection.create_process("timeout 1000 sh -c 'echo $$; sleep 1000'")
        pid = int(await process.stdout.readline())
        os.kill(cloud.pid, signal.SIGKILL)
        await connection.wait_closed()
        return pid

    pid = asyncio.run(asyncio.wait_for(run(), 20))
    deadline = time.monotonic() + 10
    while not (_ended(pid) and _ended(cloud.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert client.status(directory) is None
    stacks = directory / "world/state/.pulumi/stacks/edge-inference"
    stacks.mkdir(parents=True)
    for name, resources in (("local", [{"urn": "u"}]), ("empty", [])):
        (stacks / f"{name}.json").write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}}))
    new = client.start(directory)
    assert (new.fresh, new.lost_stacks) == (True, ("local",))
    assert not stacks.exists()
    assert client.stop(directory) is True
    assert _ended(new.pid)
    assert client.stop(directory) is False
    assert not (directory / "cloud.json").exists()
