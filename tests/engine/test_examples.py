"""The installed package, outside the checkout: the documented programs by plain `pulumi`, and `edge` in a project of its own.

Programs serve, change nothing again, and leave nothing. What is installed has the checkout's dependencies, so that no test waits
for those to be installed anew; of the checkout itself it sees nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from go_program import built
from support import tokens
from test_plugins import Program

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.paths import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import World

pytestmark = pytest.mark.engine

TOKEN = "hf_example_token"  # noqa: S105


def vpc_of_ones_own(world: World) -> dict[str, str]:
    """A VPC that somebody else made, with a subnet in Los Angeles that leads to the internet."""
    ec2 = world.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.200.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.200.1.0/24", AvailabilityZone="us-west-2-lax-1a")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    return {"vpcId": vpc, "subnetId": subnet}


def hosted_zone(world: World) -> dict[str, str]:
    zone = world.aws("route53").create_hosted_zone(Name="example.internal", CallerReference="examples")["HostedZone"]["Id"]
    return {"domain": "llm.example.internal", "hostedZoneId": zone.rpartition("/")[2]}


def environment_at(folder: Path) -> Path:
    """A virtual environment with all that the checkout's has but the checkout: the .pth files of what it names are not read."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    found = subprocess.check_output(
        [folder / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    Path(found.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    environment = environment_at(folder / "environment")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, PROJECT_ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", environment / "bin" / "python", "install", "--no-deps", wheel], check=True)
    return environment


@pytest.fixture
def program(pulumi_binary: Path, world: World, tmp_path: Path, installed: Path, request: pytest.FixtureRequest) -> Program:
    """The example that is the test's parameter, on what is installed."""
    made = Program(pulumi_binary, world, tmp_path, request.param)
    project = {"name": request.param, "runtime": {"name": "python", "options": {"virtualenv": str(installed)}}}
    (made.directory / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    made.environment.pop("PYTHONPATH", None)
    made.write((PROJECT_ROOT / "docs" / "examples" / f"{request.param}.py").read_text())
    return made


@pytest.mark.parametrize(
    ("program", "given", "replicas"), [("one_site", vpc_of_ones_own, 1), ("one_name", hosted_zone, 3)], indirect=["program"]
)
def test_an_example_serves_and_goes(
    program: Program, world: World, given: Callable[[World], dict[str, str]], replicas: int
) -> None:
    config = given(world)
    lives(program, config, replicas, "--secret")


def with_yaml(binary: Path, folder: Path) -> Path:
    """An engine with Pulumi's language host for YAML beside it, as an official release has it, or built where asked for."""
    if (binary.resolve().parent / "pulumi-language-yaml").exists():
        return binary
    if not os.environ.get("EDGE_YAML"):
        pytest.skip("building Pulumi's language host for YAML takes more than a minute: set EDGE_YAML=yes")
    host = built("pulumi-language-yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml")
    engine = shutil.copytree(binary.parent, folder / "bin")
    shutil.copy(host, engine)
    return engine / "pulumi"


@pytest.fixture
def in_yaml(pulumi_binary: Path, world: World, tmp_path: Path) -> Program:
    """The example in YAML, which has the package and no other file of ours."""
    package = tmp_path / "package" / "components"
    shutil.copytree(PROJECT_ROOT / "components", package, ignore=shutil.ignore_patterns("__pycache__", "venv"))
    environment_at(package / "venv")
    made = Program(with_yaml(pulumi_binary, tmp_path), world, tmp_path, "one-site-yaml")
    made.environment.pop("PYTHONPATH", None)
    text = (PROJECT_ROOT / "docs" / "examples" / "one_site_yaml" / "Pulumi.yaml").read_text()
    (made.directory / "Pulumi.yaml").write_text(text.replace("path: PATH/components", f"path: {package}"))
    return made


def test_a_program_in_yaml_needs_only_the_package_which_seals_what_it_is_given_in_clear(in_yaml: Program) -> None:
    lives(in_yaml, {}, 1, "--plaintext")


def test_edge_of_the_wheel_begins_a_project_and_plans_it(
    installed: Path, pulumi_binary: Path, make_world: Callable[[], World]
) -> None:
    folder = make_world().directory
    home = folder / "home"
    home.mkdir()
    # An engine of its own: its launcher is made to start what is installed.
    shutil.copytree(pulumi_binary.parent, folder / ".localcloud" / "engine" / "bin")
    clean = {"HOME": str(home), "PATH": os.defpath}

    def edge(*words: str) -> str:
        command = [installed / "bin" / "edge", *words]
        ran = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    assert edge("--version").startswith("edge ")
    assert "edge up local" in edge("init")
    assert "us-west-2a (Oregon): 1 x" in edge("plan", "local")
    assert str(PROJECT_ROOT) not in (folder / ".localcloud" / "world" / "projects" / "local" / "Pulumi.yaml").read_text()
    edge("cloud", "stop")


def lives(program: Program, config: dict[str, str], replicas: int, how_secrets_are_given: str) -> None:
    """A program comes up with keys that are given in clear or sealed, streams, has nothing to do again, and goes."""
    world = program.world
    before = world.inventory()
    key = new_deployer_key()
    secrets = {"sshPrivateKey": key, "hostKeySecret": new_host_key_secret(), "huggingFaceToken": TOKEN}
    for name, value in {**config, "callers": "127.0.0.0/8", "deployer": "127.0.0.1/32"}.items():
        program.pulumi("config", "set", "--stack=test", name, value)
    for name, value in secrets.items():
        program.pulumi("config", "set", "--stack=test", how_secrets_are_given, name, "--", value)

    said = program.up()
    urls = json.loads(program.pulumi("stack", "output", "urls", "--json", "--stack=test"))
    assert len(urls) == replicas
    assert all(tokens(url) for url in urls)
    state = json.dumps(program.state())
    for secret in (key.splitlines()[2], secrets["hostKeySecret"], TOKEN):
        assert secret not in said
        assert secret not in state
    assert program.steps() == {}, "a second run has nothing to do"
    program.pulumi("destroy", "--yes", "--skip-preview", "--stack=test")
    assert world.inventory() == before
