"""What a rotation would replace or reload is told before anything changes, and one that is not possible is refused then."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from checked_settings import stack_config

from automation.commands import rotate
from automation.engine import secret_change
from automation.engine.advice import Commands
from automation.engine.secret_change import SecretName, change_secrets, parsed_secret
from automation.errors import EdgeError, NothingDeployedError, ProtectedError, UsageError
from automation.sites import rotation
from automation.sites.endpoints import api_key
from automation.sites.rotation import Rotation, plan_rotation, store_rotation
from automation.sites.usage import KeyUsage, ReplicaUsage, Usage
from components.host_changes import planned_hosts
from components.host_identity import deployer_public_key
from components.host_steps import Step
from components.models import Problem
from components.settings import StackConfig, validate

OREGON, LAX = "us-west-2a", "us-west-2-lax-1a"
HUB: Any = "hugging-face-token"
OLD, NEW, OTHER = "o" * 20, "n" * 20, "x" * 20


def deployment(config: StackConfig, *, tells_keys: bool = True, protects: bool = False) -> dict[str, Any]:
    """An exported state that is as the config says."""
    resources: list[dict[str, Any]] = []
    wanted = validate(config).require("dev")
    for key, facts in planned_hosts(wanted).items():
        zone = key.rpartition("-")[0]
        text = Step("ready", "sudo true").on_instance("i-1", "", facts.host_key or "") if tells_keys else "# on i-1\nsudo true"
        for kind, name, outputs in (
            ("aws:ec2/instance:Instance", f"{key}-host", {"instanceType": facts.instance_type, "availabilityZone": zone}),
            ("command:remote:Command", f"{key}-ready", {"create": text}),
            ("aws:ec2/keyPair:KeyPair", f"{zone}-key", {"publicKey": facts.public_key}),
        ):
            urn = f"urn:pulumi:dev::edge-inference::edge-inference:index:EdgeInferenceSite${kind}::{name}"
            resources.append({"urn": urn, "type": kind, "id": name, "outputs": outputs, "custom": True, "protect": protects})
    told = {"api_keys": sorted(wanted.secrets.all_api_keys)}
    resources.append({"urn": "urn:pulumi:dev::e::pulumi:pulumi:Stack::s", "type": "pulumi:pulumi:Stack", "outputs": told})
    return {"resources": resources}


class Fake:
    """An environment whose stack says what a test wants."""

    name, arguments, on_local_cloud = "dev", "dev", False
    commands = Commands("dev", is_rehearsal=False)
    stack_file = Path("Pulumi.dev.yaml")

    def __init__(self, config: StackConfig | None = None, state: dict[str, Any] | None = None) -> None:
        self.config = config or stack_config(OREGON, LAX)
        self.state = deployment(self.config) if state is None else state
        self.logs = Path()

    def opened(self, *_: object, **__: object) -> "Fake":
        """In the place of `open_environment`."""
        return self

    def open(self, *, may_start: bool) -> Any:
        assert not may_start
        return SimpleNamespace(name="dev", deployment=self.state, workspace=SimpleNamespace(work_dir=str(self.logs)))

    def config_in_stack(self, stack: object) -> StackConfig:
        del stack
        return self.config

    def refuse_foreign_account(self, stack: object) -> None:
        del stack

    def nothing_deployed(self) -> NothingDeployedError:
        return NothingDeployedError("'dev' is not deployed on AWS\n  -> edge up dev")

    def hub_endpoint(self) -> None:
        return None

    def usage(self) -> Usage:
        raise EdgeError("no host answers")


def real(fake: Fake) -> Any:
    return cast("Any", fake)


def with_keys(**keys: str) -> StackConfig:
    return stack_config(OREGON, LAX, apiKeys=json.dumps(keys))


def refused(fake: Fake, kind: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        plan_rotation(real(fake), kind, **options)
    assert "-> " in str(raised.value)
    return str(raised.value)


def told(found: Rotation, fake: Fake | None = None) -> str:
    lines = list(rotate.before(found, real(fake or Fake())))
    assert all(len(line) <= 80 for line in lines), lines
    return "\n".join(lines)


@pytest.mark.parametrize("kind", ["ssh-key", "host-keys"])
def test_keys_of_hosts_replace_all_of_them_one_turn_after_another(kind: Any) -> None:
    found = plan_rotation(real(Fake()), kind)
    assert found.turns == ((f"{OREGON}-1",), (f"{LAX}-1",))
    assert found.unprotected is None
    (secret,) = found.stored
    assert str(secret) == {"ssh-key": "sshPrivateKey", "host-keys": "hostKeySecret"}[kind]
    (value,) = found.stored.values()
    assert value not in repr(found)
    assert value not in told(found)
    assert f"All 2 hosts are replaced, in 2 turns:\n    1  {OREGON}-1\n    2  {LAX}-1" in told(found)
    assert f"nothing is reserved (sites[].reserve) in {OREGON}, {LAX}." in " ".join(told(found).split())
    assert found.described()["replaced"] == [[f"{OREGON}-1"], [f"{LAX}-1"]]
    if kind == "ssh-key":
        assert deployer_public_key(value)


def test_who_is_alone_or_without_a_name_is_not_protected_and_that_is_told() -> None:
    alone = plan_rotation(real(Fake(stack_config(OREGON))), "ssh-key")
    assert "not protected: it is the only replica" in told(alone)
    unrouted = plan_rotation(real(Fake(stack_config(OREGON, LAX, routing={"policy": "none"}))), "ssh-key")
    assert "routing.policy is none" in str(unrouted.unprotected)


def test_what_is_not_deployed_or_protected_or_half_rotated_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(NothingDeployedError):
        plan_rotation(real(Fake(state={})), "ssh-key")
    config = stack_config(OREGON, LAX)
    with pytest.raises(ProtectedError, match="edge unprotect dev us-west-2-lax-1a"):
        plan_rotation(real(Fake(config, deployment(config, protects=True))), "host-keys")
    changed = stack_config(OREGON, LAX, hostKeySecret="f" * 64)
    for kind in ("ssh-key", "host-keys"):
        assert "an earlier change of keys is not finished" in refused(Fake(changed, deployment(config)), kind)
    assert "of an earlier release" in refused(Fake(config, deployment(config, tells_keys=False)), "host-keys")


def test_an_api_key_gets_a_successor_and_later_gives_way_to_it() -> None:
    first = plan_rotation(real(Fake(with_keys(mobile=OLD))), "api-key")
    assert [str(each) for each in first.stored] == ["apiKeys.mobile-next"]
    assert (first.taken_away, first.turns, first.key, first.is_last_step) == ((), (), "mobile", False)
    assert "both are valid" in " ".join(told(first).split())
    assert "edge secret get dev apiKeys.mobile-next > FILE" in "\n".join(rotate.after(first, real(Fake())))
    (value,) = first.stored.values()
    assert value not in told(first) + "".join(rotate.after(first, real(Fake())))
    begun = with_keys(mobile=OLD, **{"mobile-next": NEW})
    assert "--finish" in refused(Fake(begun), "api-key")
    last = plan_rotation(real(Fake(begun)), "api-key", finish=True)
    assert {str(each): value for each, value in last.stored.items()} == {"apiKeys.mobile": NEW}
    assert [str(each) for each in last.taken_away] == ["apiKeys.mobile-next"]
    assert "no host answers" in told(last), "how both are used is not known"
    assert "is not valid on the hosts yet" in refused(Fake(begun, deployment(with_keys(mobile=OLD))), "api-key", finish=True)


def test_the_key_without_a_name_is_rotated_too() -> None:
    config = stack_config(OREGON, apiKey=OLD)
    (secret,) = plan_rotation(real(Fake(config)), "api-key").stored
    assert str(secret) == "apiKeys.apiKey-next"
    begun = stack_config(OREGON, apiKey=OLD, apiKeys=json.dumps({"apiKey-next": NEW}))
    assert [str(each) for each in plan_rotation(real(Fake(begun)), "api-key", finish=True).stored] == ["apiKey"]


def test_which_api_key_is_asked_where_there_are_several() -> None:
    several = Fake(with_keys(mobile=OLD, web=OTHER))
    assert "which key? There are mobile, web" in refused(several, "api-key")
    assert "'tv' is not one of them" in refused(several, "api-key", key="tv")
    assert plan_rotation(real(several), "api-key", key="web").key == "web"
    assert "has no API key" in refused(Fake(), "api-key")
    assert "has a successor" in refused(several, "api-key", finish=True)
    # A key of one's own that only looks like a successor is a key as others.
    assert plan_rotation(real(Fake(with_keys(**{"mobile-next": OLD}))), "api-key").key == "mobile-next"


def test_what_asks_by_itself_uses_the_key_that_stays() -> None:
    values = {"edge-inference:apiKey": OLD, "edge-inference:apiKeys": json.dumps({"web": OTHER, "apiKey-next": NEW})}
    assert api_key(values.get) == NEW
    assert api_key({"edge-inference:apiKeys": json.dumps({"web": OTHER})}.get) == OTHER
    assert api_key({"edge-inference:apiKey": f"{OLD}\n"}.get) == OLD
    assert api_key(dict[str, str]().get) is None


def test_a_token_that_does_not_open_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[Problem | None, str | None]] = [
        (Problem("edge-inference:huggingFaceToken", None, "is no valid token", ""), None),
        (None, "the Hugging Face Hub cannot be reached"),
    ]

    def asked(*_: object) -> tuple[Problem | None, str | None]:
        return answers.pop(0)

    monkeypatch.setattr(rotation, "token_problem", asked)
    with pytest.raises(UsageError, match="is no valid token; nothing is changed"):
        token_plan("hf_wrong")
    found = token_plan("hf_new\n")
    assert [*found.stored.values()] == ["hf_new"]
    assert "Not known to be good: the Hugging Face Hub cannot be reached." in told(found)
    assert "Nothing is restarted or replaced" in told(found)
    with pytest.raises(UsageError, match="no token was given"):
        token_plan(" \n")


def token_plan(token: str) -> Rotation:
    return plan_rotation(real(Fake()), HUB, token=token)


class Stored:
    """Stands in for what the engine encrypts, in a stack file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, content: str) -> None:
        self.path = folder / "Pulumi.dev.yaml"
        self.path.write_text(content)
        self.done: list[str] = []
        self.fails_at = ""
        monkeypatch.setattr(secret_change, "set_secrets", self._set)
        monkeypatch.setattr(secret_change, "unset_secret", self._unset)

    def _set(self, stack: object, values: Mapping[str, str]) -> None:
        del stack
        self.path.write_text("half of it")
        self.done += [f"set {key.removeprefix('edge-inference:')} {value}" for key, value in values.items()]

    def _unset(self, stack: object, key: str) -> None:
        del stack
        self.done.append(f"unset {key.removeprefix('edge-inference:')}")
        if self.fails_at and self.fails_at in key:
            raise EdgeError("the disk is full")


SINGLE = "config: {'edge-inference:apiKeys': {mobile: {secure: v1:a}, mobile-next: {secure: v1:b}}}\n"
WHOLE = "config: {'edge-inference:apiKeys': {secure: v1:a}}\n"


def finished(folder: Path, config: StackConfig) -> Fake:
    fake = Fake(config)
    fake.logs = folder
    return fake


def test_both_keys_change_together_or_not_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun = with_keys(mobile=OLD, **{"mobile-next": NEW})
    stored = Stored(monkeypatch, tmp_path, SINGLE)
    fake = finished(tmp_path, begun)
    store_rotation(real(fake), plan_rotation(real(fake), "api-key", finish=True))
    assert stored.done == [f"set apiKeys.mobile {NEW}", "unset apiKeys.mobile-next"]
    stored = Stored(monkeypatch, tmp_path, SINGLE)
    stored.fails_at = "mobile-next"
    with pytest.raises(EdgeError, match="disk is full"):
        store_rotation(real(fake), plan_rotation(real(fake), "api-key", finish=True))
    assert stored.path.read_text() == SINGLE
    stored = Stored(monkeypatch, tmp_path, WHOLE)
    store_rotation(real(fake), plan_rotation(real(fake), "api-key", finish=True))
    assert stored.done == [f'set apiKeys {{"mobile": "{NEW}"}}'], "all of them are one text"


def test_the_map_goes_with_its_last_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun = stack_config(OREGON, apiKey=OLD, apiKeys=json.dumps({"apiKey-next": NEW}))
    stored = Stored(monkeypatch, tmp_path, "config: {'edge-inference:apiKeys': {apiKey-next: {secure: v1:b}}}\n")
    fake = finished(tmp_path, begun)
    store_rotation(real(fake), plan_rotation(real(fake), "api-key", finish=True))
    assert stored.done == [f"set apiKey {NEW}", "unset apiKeys"]


def test_what_the_program_would_refuse_is_not_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stored = Stored(monkeypatch, tmp_path, SINGLE)
    with pytest.raises(UsageError, match="nothing is changed"):
        change_secrets(real(finished(tmp_path, with_keys(mobile=OLD))), {SecretName("apiKey"): "short"}, (), "storing")
    assert stored.done == []


def test_a_secret_is_handed_to_files_and_programs_and_never_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from automation.commands import config

    fake = Fake(with_keys(mobile=OLD))
    monkeypatch.setattr(config, "open_environment", fake.opened)
    config.secret_get("dev", "apiKeys.mobile")
    assert capsys.readouterr().out == f"{OLD}\n"
    with pytest.raises(UsageError, match="is not set"):
        config.secret_get("dev", "apiKeys.web")
    monkeypatch.setattr(config.sys.stdout, "isatty", lambda: True)
    with pytest.raises(UsageError, match=r"edge secret get dev apiKeys\.mobile > FILE"):
        config.secret_get("dev", "apiKeys.mobile")
    assert capsys.readouterr().out == ""


class Rotated(Fake):
    """Notes what the command does, in order."""

    def __init__(self) -> None:
        super().__init__(with_keys(mobile=OLD))
        self.done: list[str] = []

    def plan_rotation(self, kind: Any, **options: Any) -> Rotation:
        self.done.append("plan")
        return plan_rotation(real(self), kind, **options)

    def store_rotation(self, found: Rotation) -> None:
        self.done.append(f"store {found.kind}")

    def deploy(self, *_: object, **__: object) -> None:
        self.done.append("up")


def test_nothing_is_stored_before_a_person_has_agreed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Rotated()
    monkeypatch.setattr(rotate, "open_environment", fake.opened)
    monkeypatch.setattr(rotate, "deploy", fake.deploy)
    with pytest.raises(UsageError, match="--yes"):
        rotate.rotate("dev", rotate.What.API_KEY)
    assert fake.done == ["plan"]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "a new key 'mobile-next' beside 'mobile'" in shown.err
    rotate.rotate("dev", rotate.What.API_KEY, yes=True, as_json=True)
    assert fake.done[1:] == ["plan", "store api-key", "up"]
    described = json.loads(capsys.readouterr().out)
    assert described == {
        "event": "rotation", "kind": "api-key", "replaced": [], "key": "mobile", "successor": "mobile-next", "finish": False,
    }  # fmt: skip
    with pytest.raises(UsageError, match="are for api-key"):
        rotate.rotate("dev", rotate.What.SSH_KEY, finish=True)


def test_before_the_old_key_goes_both_uses_are_shown() -> None:
    class Used(Fake):
        def usage(self) -> Usage:
            keys = {"mobile": KeyUsage(3, 100, 1.0), "mobile-next": KeyUsage(7, 200, 2.0)}
            return Usage("dev", None, ("mobile", "mobile-next"), {"a-1": ReplicaUsage(None, keys)}, (), simulated=True)

    fake = Used(with_keys(mobile=OLD, **{"mobile-next": NEW}))
    lines = told(plan_rotation(real(fake), "api-key", finish=True), fake)
    assert "mobile              3" in lines
    assert "mobile-next         7" in lines


def test_a_successor_is_a_name_of_a_key() -> None:
    assert parsed_secret("apiKeys.mobile-next", "dev") == SecretName("apiKeys", "mobile-next")
    with pytest.raises(UsageError, match="is no name of a key"):
        plan_rotation(real(Fake(with_keys(**{"m" * 60: OLD}))), "api-key")
