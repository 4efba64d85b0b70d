"""What release 6788d8e has deployed is taken over by today's program as it stands, and its users notice nothing."""

from __future__ import annotations

import tarfile
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests
import yaml
from support import HONOLULU, OREGON, Deployment, World, tokens

from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.engine

RELEASE = PROJECT_ROOT / "tests" / "data" / "release-6788d8e.tar.gz"
DOMAIN = "upgraded.edge.internal"


@pytest.fixture(scope="module")
def upgraded(world: World, stack_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A deployment that the release made, in an environment of today."""
    deployment = Deployment("upgraded", world, stack_files)
    access = {"clientCidrs": ["127.0.0.0/8"], "sshCidrs": ["127.0.0.1/32"]}
    routing = {"domain": DOMAIN, "hostedZone": "edge.internal"}
    deployment.configure([{"zone": OREGON, "replicas": 2}, HONOLULU], access=access, routing=routing, tags={"team": "edge"})
    program = tmp_path_factory.mktemp("release")
    with tarfile.open(RELEASE) as archive:
        archive.extractall(program, filter="data")
    pulumi = deployment.shell()  # writes the project, whose program is today's
    project = deployment.project / "Pulumi.yaml"
    described = yaml.safe_load(project.read_text()) | {"main": str(program)}
    project.write_text(yaml.safe_dump(described))
    ran = pulumi("up", "--yes", "--skip-preview")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    yield deployment
    deployment.destroy()


def test_nothing_is_replaced_or_deleted_and_nobody_notices(upgraded: Deployment) -> None:
    before = {urn: resource.get("id") for urn, resource in resources(upgraded).items()}
    assert not any("edge-inference:deployment" in str(each) for each in resources(upgraded).values()), "today's made it"
    urls = [replica["url"] for site in upgraded.environment.outputs()["sites"].values() for replica in site["replicas"]]
    assert len(urls) == 3
    with asked_all_the_time(urls) as failures:
        recording = upgraded.up()
    assert failures == []
    touched = recording.touched
    # What starts a server became part of the last step; to delete a command runs nothing on a host.
    gone = {f"Command {zone}-{number}-server" for zone, number in ((OREGON, 1), (OREGON, 2), (HONOLULU, 1))}
    assert all(touched.pop(name) == {"delete"} for name in gone)
    assert {operation for operations in touched.values() for operation in operations} == {"update"}
    after = {urn: resource.get("id") for urn, resource in resources(upgraded).items()}
    before = {urn: found for urn, found in before.items() if not urn.endswith("-server")}
    assert before.items() <= after.items(), "every resource is the one that it was, under the name that it had"


def test_a_second_run_has_nothing_to_do(upgraded: Deployment) -> None:
    assert upgraded.preview().touched == {}


def resources(deployment: Deployment) -> dict[str, dict[str, object]]:
    return {each["urn"]: each for each in deployment.exported()["resources"] if each["type"] != "pulumi:providers:aws"}


@contextmanager
def asked_all_the_time(urls: list[str]) -> Generator[list[str]]:
    """Users of every replica; yields what went wrong for them."""
    failures: list[str] = []
    done = threading.Event()

    def ask(url: str) -> None:
        while True:
            try:
                if not tokens(url):
                    failures.append(f"{url}: no token")
            except requests.RequestException as error:
                failures.append(f"{url}: {error}")
            if done.wait(0.2):
                return

    users = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for user in users:
        user.start()
    yield failures
    done.set()
    for user in users:
        user.join()
