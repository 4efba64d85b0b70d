"""`edge list`: which environments there are, and what of them is deployed as far as files tell."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from automation.cli import app
from automation.commands import environments
from automation.engine.listing import Listed, listed
from localcloud import client

HOST: dict[str, Any] = {
    "urn": "urn:pulumi:tokyo::edge-inference::aws:ec2/instance:Instance::us-west-2a-1-host",
    "type": "aws:ec2/instance:Instance",
    "custom": True,
    "outputs": {"availabilityZone": "us-west-2a", "instanceType": "g4dn.2xlarge"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two environments; the states are in files, and the local cloud runs."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'aws'}")
    monkeypatch.setattr(client, "status", lambda _directory: object())  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    for name in ("local", "tokyo"):
        text = "config:\n  edge-inference:sites:\n    - zone: us-west-2a\n"
        (tmp_path / f"Pulumi.{name}.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def _state(root: Path, name: str, content: str | None = None) -> None:
    path = root / ".pulumi" / "stacks" / "edge-inference" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or json.dumps({"checkpoint": {"latest": {"resources": [HOST, HOST]}}}), encoding="utf-8")


def test_nothing_is_deployed_at_first(folder: Path) -> None:
    assert list(listed(folder, folder)) == [
        Listed("local", "local cloud", ("us-west-2a",), 0),
        Listed("tokyo", "AWS", ("us-west-2a",), 0),
    ]


def test_a_state_in_a_file_tells_what_is_deployed_and_rehearsed(folder: Path) -> None:
    _state(folder / "aws", "tokyo")
    _state(folder / "world" / "state", "tokyo")
    assert [(each.name, each.place, each.hosts) for each in listed(folder, folder)] == [
        ("local", "local cloud", 0),
        ("tokyo", "AWS", 2),
        ("tokyo", "local cloud", 2),
    ]


def test_what_a_local_cloud_had_is_gone_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _state(folder / "world" / "state", "local")
    monkeypatch.setattr(client, "status", lambda _directory: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert [each.hosts for each in listed(folder, folder)] == [0, 0]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"checkpoint": null}'])
def test_what_is_no_state_tells_nothing(folder: Path, content: str) -> None:
    _state(folder / "aws", "tokyo", content or " ")
    assert [each.hosts for each in listed(folder, folder)] == [0, None]


def test_a_state_elsewhere_is_not_asked_and_a_broken_file_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://somewhere")
    monkeypatch.setattr(environments, "PROJECT_ROOT", folder)
    monkeypatch.setattr(environments, "LOCAL_DIRECTORY", folder)
    (folder / "Pulumi.local.yaml").write_text("config:\n  edge-inference:sites: 3\n", encoding="utf-8")
    answer = CliRunner().invoke(app, ["list"])
    assert answer.stdout.splitlines() == [
        "environment  on           deployed        sites of its file",
        "local        local cloud  nothing         no sound file: edge doctor local",
        "tokyo        AWS          not known here  us-west-2a",
    ]
    assert answer.stderr == "Not known here: the state lies elsewhere, and was not asked.\n  -> edge status tokyo\n"
    assert [each["hosts"] for each in json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)] == [0, None]
