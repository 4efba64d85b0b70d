"""A stack's own folder on the local cloud: stand-ins for what is its owner's, and nothing tracked is touched."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from automation.account.keys import new_deployer_key, new_host_key_secret
from automation.engine import local
from automation.errors import CloudNotRunningError, UsageError
from automation.paths import PROJECT_ROOT, known_environments, stack_file
from components.host_identity import deployer_public_key, derive_host_key
from components.settings import StackConfig, validate
from localcloud import keys
from localcloud.client import CloudStatus

SITES = [{"zone": "us-west-2a"}]
SECRET_KEYS = {"edge-inference:sshPrivateKey", "edge-inference:hostKeySecret", "edge-inference:huggingFaceToken"}


class FakeCloud(CloudStatus):
    """A local cloud that only remembers what it was asked."""

    asked: list[tuple[str, str, object]]

    def request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        self.asked.append((method, path, body))
        return {}


@pytest.fixture
def cloud(tmp_path: Path) -> FakeCloud:
    made = FakeCloud(tmp_path, "world", 1, 4599, "http://127.0.0.1:4599", "now", keys.make())
    object.__setattr__(made, "asked", [])
    return made


def stack(tmp_path: Path, cloud: FakeCloud, config: object, name: str = "prod") -> tuple[local.LocalStack, dict[str, Any]]:
    """The prepared stack of a config, and the config that was written."""
    file = tmp_path / f"Pulumi.{name}.yaml"
    file.write_text(yaml.safe_dump({"secretsprovider": "awskms://key", "encryptedkey": "abc", "config": config}))
    prepared = local.prepare_stack(file, tmp_path, cloud)
    return prepared, yaml.safe_load((prepared.folder / f"Pulumi.{name}.yaml").read_text())


def test_owners_values_get_stand_ins_and_it_says_which(tmp_path: Path, cloud: FakeCloud) -> None:
    prepared, written = stack(tmp_path, cloud, {"aws:region": "us-west-2", "edge-inference:sites": SITES})
    assert written["config"]["edge-inference:access"] == {
        "clientCidrs": ["127.0.0.1/32", "127.200.0.0/16"],
        "sshCidrs": ["127.0.0.1/32"],
    }
    assert written["config"]["edge-inference:routing"] == {"domain": "prod.edge.internal", "hostedZone": "edge.internal"}
    assert written["config"]["edge-inference:sites"] == SITES
    said = " ".join(prepared.stand_ins)
    for word in ("access.clientCidrs", "access.sshCidrs", "routing.domain", "sshPrivateKey", "hostKeySecret", "huggingFaceToken"):
        assert word in said
    assert ("PUT", "hosted-zones", {"name": "edge.internal"}) in cloud.asked


def test_this_machine_and_the_cities_clients_are_let_in_beside_the_real_addresses(tmp_path: Path, cloud: FakeCloud) -> None:
    access = {"clientCidrs": ["93.184.216.34/32"], "sshCidrs": ["127.0.0.1/32"]}
    prepared, written = stack(tmp_path, cloud, {"edge-inference:access": access})
    assert written["config"]["edge-inference:access"] == {
        "clientCidrs": ["93.184.216.34/32", "127.0.0.1/32", "127.200.0.0/16"],
        "sshCidrs": ["127.0.0.1/32"],
    }
    assert [text for text in prepared.stand_ins if "clientCidrs" in text]
    assert not [text for text in prepared.stand_ins if "sshCidrs" in text]


def test_what_the_owner_gave_is_kept(tmp_path: Path, cloud: FakeCloud) -> None:
    routing = {"domain": "llm.acme.dev", "hostedZone": "acme.dev", "policy": "geoproximity"}
    server = {"port": 9000}
    _, written = stack(tmp_path, cloud, {"edge-inference:routing": routing, "edge-inference:server": server})
    assert written["config"]["edge-inference:routing"] == routing
    assert written["config"]["edge-inference:server"] == server
    assert ("PUT", "hosted-zones", {"name": "acme.dev"}) in cloud.asked


def test_hosted_zone_that_the_program_creates_is_left_to_it(tmp_path: Path, cloud: FakeCloud) -> None:
    given = {"domain": "llm.acme.dev", "hostedZone": "acme.dev", "createHostedZone": True}
    _, written = stack(tmp_path, cloud, {"edge-inference:routing": given})
    assert written["config"]["edge-inference:routing"] == given
    _, written = stack(tmp_path, cloud, {"edge-inference:routing": {"createHostedZone": True}}, "dev")
    zone = {"domain": "dev.edge.internal", "hostedZone": "dev.edge.internal"}
    assert written["config"]["edge-inference:routing"] == {"createHostedZone": True, **zone}
    assert cloud.asked == []


def test_id_of_a_real_hosted_zone_gets_a_stand_in(tmp_path: Path, cloud: FakeCloud) -> None:
    routing = {"domain": "llm.acme.dev", "hostedZoneId": "Z0123"}
    prepared, written = stack(tmp_path, cloud, {"edge-inference:routing": routing})
    assert written["config"]["edge-inference:routing"] == {"domain": "llm.acme.dev", "hostedZone": "llm.acme.dev"}
    assert "routing.hostedZone: llm.acme.dev, in place of routing.hostedZoneId" in prepared.stand_ins
    assert ("PUT", "hosted-zones", {"name": "llm.acme.dev"}) in cloud.asked


def test_no_routing_needs_no_name(tmp_path: Path, cloud: FakeCloud) -> None:
    _, written = stack(tmp_path, cloud, {"edge-inference:routing": {"policy": "none"}})
    assert written["config"]["edge-inference:routing"] == {"policy": "none"}
    assert cloud.asked == []


def test_real_secrets_never_get_there(tmp_path: Path, cloud: FakeCloud) -> None:
    """They can neither be decrypted here nor are they needed."""
    prepared, written = stack(tmp_path, cloud, {key: {"secure": "v1:real"} for key in SECRET_KEYS})
    assert "v1:real" not in str(written)
    assert "awskms" not in str(written)
    assert set(prepared.secrets) == SECRET_KEYS
    assert deployer_public_key(prepared.secrets["edge-inference:sshPrivateKey"])


def test_stand_in_secrets_stay_the_same_as_long_as_the_world_does(tmp_path: Path, cloud: FakeCloud) -> None:
    """New keys would replace every host."""
    prepared, _ = stack(tmp_path, cloud, {})
    written = prepared.folder / "Pulumi.prod.yaml"
    content = yaml.safe_load(written.read_text())
    content["encryptionsalt"] = "v1:salt"
    content["config"] |= {key: {"secure": "v1:stored"} for key in prepared.secrets}
    written.write_text(yaml.safe_dump(content))
    again, kept = stack(tmp_path, cloud, {"edge-inference:sites": SITES})
    assert again.secrets == {}
    assert kept["encryptionsalt"] == "v1:salt"
    assert {key for key, value in kept["config"].items() if value == {"secure": "v1:stored"}} == SECRET_KEYS
    assert kept["config"]["edge-inference:sites"] == SITES


@pytest.mark.parametrize("name", ["dev", "prod", "local"])
def test_committed_environments_are_complete_with_their_stand_ins(tmp_path: Path, cloud: FakeCloud, name: str) -> None:
    """`edge up prod --local` works as committed."""
    file = tmp_path / f"Pulumi.{name}.yaml"
    shutil.copy(stack_file(name, PROJECT_ROOT), file)
    before = file.read_text()
    prepared = local.prepare_stack(file, tmp_path, cloud)
    assert file.read_text() == before
    written = yaml.safe_load((prepared.folder / file.name).read_text())["config"]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in written.items()} | prepared.secrets
    assert validate(StackConfig(name, values, frozenset(prepared.secrets))).problems == ()


@pytest.mark.parametrize(
    "config",
    [
        {"edge-inference:access": ["x"]},
        {"edge-inference:access": "x"},
        {"edge-inference:access": {"clientCidrs": [5], "sshCidrs": 5}},
        {"edge-inference:routing": "x"},
        {"edge-inference:routing": {"domain": 5, "hostedZone": ["x"]}},
        {"edge-inference:sites": 5},
        None,
    ],
    ids=str,
)
def test_malformed_values_are_left_for_the_program_to_refuse(tmp_path: Path, cloud: FakeCloud, config: object) -> None:
    """It does so with path and reason."""
    stack(tmp_path, cloud, config)


def test_the_project_runs_from_the_checkout_with_its_interpreter(tmp_path: Path, cloud: FakeCloud) -> None:
    prepared, _ = stack(tmp_path, cloud, {})
    project = yaml.safe_load((prepared.folder / "Pulumi.yaml").read_text())
    assert project["main"] == str(PROJECT_ROOT)
    assert project["runtime"]["options"]["virtualenv"] == str(PROJECT_ROOT / ".venv")
    assert project["name"] == "edge-inference"
    assert prepared.folder.is_relative_to(tmp_path / "world"), "it lives and dies with the world"


def test_environment_of_a_local_run(tmp_path: Path, cloud: FakeCloud) -> None:
    variables = local.local_environment(tmp_path, cloud)
    assert variables["AWS_ENDPOINT_URL"] == cloud.url
    assert variables["HF_ENDPOINT"].startswith(f"{cloud.url}/_localcloud/hub/")
    assert variables["PULUMI_BACKEND_URL"] == f"file://{tmp_path / 'world' / 'state'}"
    assert variables["PULUMI_HOME"] == str(tmp_path / "pulumi")
    assert variables["AWS_ACCESS_KEY_ID"].startswith("LOCALCLOUD"), "never a real account's"
    assert variables["AWS_SESSION_TOKEN"] == ""
    assert len({variables[name] for name in ("AWS_SECRET_ACCESS_KEY", "EDGE_CLOUD_TOKEN", "HF_ENDPOINT")}) == 3
    passphrase = Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert passphrase.stat().st_mode & 0o777 == 0o600
    assert local.local_environment(tmp_path, cloud) == variables
    assert len(passphrase.read_text()) == 32


def test_cloud_that_is_needed_and_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(CloudNotRunningError, match="  -> edge up prod --local "):
        local.require_cloud(tmp_path, "edge up prod --local")


@pytest.mark.parametrize("text", ["config: [", "- a\n- b\n", "text\n", "config: text\n", "config: [a]\n"])
def test_what_is_no_stack_file_is_a_usage_error(tmp_path: Path, cloud: FakeCloud, text: str) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"Pulumi\.prod\.yaml is no "):
        local.prepare_stack(file, tmp_path, cloud)


def test_what_plain_pulumi_changed_in_the_copy_is_taken_back_and_told_once(tmp_path: Path, cloud: FakeCloud) -> None:
    config = {"aws:region": "us-west-2", "edge-inference:sites": SITES, "edge-inference:protect": True}
    prepared, written = stack(tmp_path, cloud, config)
    assert prepared.taken_back == ()
    # As the engine writes it: scalars are texts; a secret and the drained sites are kept.
    written["config"] |= {
        "edge-inference:protect": "true",
        "edge-inference:server": {"maxTotalTokens": 4096},
        "edge-inference:apiKey": {"secure": "v1:x"},
        "edge-inference:drained": [],
    }
    del written["config"]["aws:region"]
    (prepared.folder / "Pulumi.prod.yaml").write_text(yaml.safe_dump(written))
    again, after = stack(tmp_path, cloud, config)
    assert again.taken_back == ("aws:region", "edge-inference:server")
    assert (after["config"]["aws:region"], "edge-inference:server" in after["config"]) == ("us-west-2", False)
    # A changed file is nobody's doing but its owner's.
    assert stack(tmp_path, cloud, {**config, "edge-inference:protect": False})[0].taken_back == ()


def test_secret_in_clear_is_left_for_the_program_to_refuse(tmp_path: Path, cloud: FakeCloud) -> None:
    prepared, _ = stack(tmp_path, cloud, {"edge-inference:hostKeySecret": "f00d"})
    assert "edge-inference:hostKeySecret" not in prepared.secrets


def test_new_start_says_what_is_gone(tmp_path: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    started = CloudStatus(
        tmp_path, "new", 1, 1, "http://127.0.0.1:1", "now", keys.make(), fresh=True, lost_stacks=("local", "prod")
    )
    running: list[CloudStatus] = []

    def status(directory: Path) -> CloudStatus | None:
        assert directory == tmp_path
        return running[0] if running else None

    def start(directory: Path, *, say: object) -> CloudStatus:
        del directory, say
        return started

    monkeypatch.setattr(local.client, "status", status)
    monkeypatch.setattr(local.client, "start", start)
    said: list[str] = []
    assert local.start_cloud(tmp_path, said.append) is started
    assert "local, prod" in said[0]
    assert "gone" in said[0]
    running.append(cloud)
    assert local.start_cloud(tmp_path, said.append) is cloud
    assert len(said) == 1


def test_environments_are_the_stack_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("Pulumi.b.yaml", "Pulumi.a.yaml", "Pulumi.yaml", "other.yaml"):
        (tmp_path / name).touch()
    assert known_environments(tmp_path) == ["a", "b"]


# Keys


def test_new_keys_are_what_the_settings_ask_for() -> None:
    key, secret = new_deployer_key(), new_host_key_secret()
    assert deployer_public_key(key).startswith("ssh-ed25519 ")
    assert derive_host_key(secret, "host").public.startswith("ssh-ed25519 ")
    assert (key, secret) != (new_deployer_key(), new_host_key_secret())


def test_drained_sites_outlive_the_next_run_as_long_as_they_are_there(tmp_path: Path, cloud: FakeCloud) -> None:
    sites = [{"zone": "us-west-2a"}, {"zone": "us-west-2-lax-1a"}]
    stack(tmp_path, cloud, {"edge-inference:sites": sites})
    copy = tmp_path / "world" / "projects" / "prod" / "Pulumi.prod.yaml"
    content = yaml.safe_load(copy.read_text())
    content["config"]["edge-inference:drained"] = ["us-west-2-lax-1a"]
    copy.write_text(yaml.safe_dump(content))
    _, written = stack(tmp_path, cloud, {"edge-inference:sites": sites})
    assert written["config"]["edge-inference:drained"] == ["us-west-2-lax-1a"]
    _, written = stack(tmp_path, cloud, {"edge-inference:sites": sites, "edge-inference:drained": ["us-west-2a"]})
    assert written["config"]["edge-inference:drained"] == ["us-west-2a"], "the tracked file's own"
    assert local.lists_drained(tmp_path / "Pulumi.prod.yaml")
    _, written = stack(tmp_path, cloud, {"edge-inference:sites": sites[1:]})
    assert "edge-inference:drained" not in written["config"]
    assert not local.lists_drained(tmp_path / "Pulumi.prod.yaml")


def test_a_secret_in_clear_is_refused_where_a_stored_one_exists(tmp_path: Path, cloud: FakeCloud) -> None:
    """The stored one would have been taken in its place, and AWS would have refused what the rehearsal had not."""
    stack(tmp_path, cloud, {})
    copy = tmp_path / "world" / "projects" / "prod" / "Pulumi.prod.yaml"
    content = json.loads(copy.read_text())
    content["config"]["edge-inference:hostKeySecret"] = {"secure": "v1:stored"}
    copy.write_text(json.dumps(content))
    _, written = stack(tmp_path, cloud, {"edge-inference:hostKeySecret": "f00d"})
    assert written["config"]["edge-inference:hostKeySecret"] == "f00d"


@pytest.mark.parametrize(
    "bad",
    [
        {"edge-inference:drained": [["us-west-2a"]]},
        {"edge-inference:drained": ["us-west-2a"]},
        {"edge-inference:drained": {"us-west-2a": {}}},
        {"edge-inference:sites": [{"zone": ["us-west-2a"]}]},
        {"edge-inference:access": {"clientCidrs": {"a": []}}},
    ],
    ids=str,
)
def test_nothing_that_a_file_left_behind_is_read_back(tmp_path: Path, cloud: FakeCloud, bad: dict[str, Any]) -> None:
    """Also where it was good: a site that the file had drained is not, once the file says nothing of it."""
    good = {"edge-inference:sites": [{"zone": "us-west-2a"}, {"zone": "us-west-2b"}]}
    _, clean = stack(tmp_path, cloud, good)
    stack(tmp_path, cloud, good | bad)
    assert stack(tmp_path, cloud, good)[1] == clean


@pytest.mark.parametrize("left", ["{", "[1]", "config: [a]", "config: {a: b, a: c}", "\0", '{"encryptionsalt": [1]}'])
def test_a_copy_that_is_no_stack_file_is_made_anew(tmp_path: Path, cloud: FakeCloud, left: str) -> None:
    _, clean = stack(tmp_path, cloud, {})
    (tmp_path / "world" / "projects" / "prod" / "Pulumi.prod.yaml").write_text(left)
    assert stack(tmp_path, cloud, {})[1] == clean
