"""A new environment's file: what a person would have written, accepted by the program, all or nothing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from terminals import COLOURS, CTRL_C, in_a_terminal
from typer.testing import CliRunner, Result

from automation.cli import app, main
from automation.commands import initial, setup
from automation.commands.initial import Draft, create
from automation.engine.local import prepare_stack
from automation.errors import EdgeError, UsageError
from automation.paths import PROJECT_ROOT
from geography.places import REGIONS, ZONE_GROUPS
from localcloud import keys
from localcloud.client import CloudStatus

OWN = "93.184.216.34/32"
TOKEN = "hf_given"  # noqa: S105 - made up
DRAFT = Draft("tokyo", ("us-west-2a", "us-west-2-hnl-1a"), (OWN,), (OWN,), "llm.acme.dev", "acme.dev", hugging_face_token=TOKEN)


class FakeEnvironment:
    """Takes secrets, or fails."""

    stored: Mapping[str, str] = {}
    fails: Exception | None = None

    def __init__(self, name: str, **_: Any) -> None:
        self.name = name

    def store_secrets(self, values: Mapping[str, str]) -> None:
        if self.fails:
            raise self.fails
        FakeEnvironment.stored = values


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> type[FakeEnvironment]:
    monkeypatch.setattr(initial, "Environment", FakeEnvironment)
    monkeypatch.setattr(FakeEnvironment, "stored", {})
    monkeypatch.setattr(FakeEnvironment, "fails", None)
    return FakeEnvironment


def _config(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["config"]


def test_a_file_as_a_person_would_write_it_and_its_secrets_elsewhere(tmp_path: Path) -> None:
    path = create(DRAFT, tmp_path)
    assert _config(path) == {
        "aws:region": "us-west-2",
        "edge-inference:sites": [{"zone": "us-west-2a"}, {"zone": "us-west-2-hnl-1a"}],
        "edge-inference:access": {"clientCidrs": [OWN], "sshCidrs": [OWN]},
        "edge-inference:routing": {"domain": "llm.acme.dev", "hostedZone": "acme.dev"},
    }
    text = path.read_text(encoding="utf-8")
    assert "# Honolulu; opt in once: --group-name us-west-2-hnl-1" in text
    assert max(map(len, text.splitlines())) <= 130
    stored = FakeEnvironment.stored
    assert stored["edge-inference:huggingFaceToken"] == "hf_given"
    assert stored["edge-inference:sshPrivateKey"].startswith("-----BEGIN OPENSSH")
    assert not any(value in text for value in stored.values())


def test_without_a_name_sites_are_called_by_their_addresses(tmp_path: Path) -> None:
    path = create(Draft("tokyo", ("us-west-2a",), (OWN,), (OWN,)), tmp_path)
    assert _config(path)["edge-inference:routing"] == {"policy": "none"}


def test_another_model(tmp_path: Path) -> None:
    path = create(Draft("tokyo", ("us-west-2a",), (OWN,), (OWN,), model="Qwen/Qwen2.5-3B-Instruct"), tmp_path)
    assert _config(path)["edge-inference:server"] == {"model": "Qwen/Qwen2.5-3B-Instruct"}


def test_a_file_for_a_rehearsal_leaves_to_the_local_cloud_what_is_its_owners(tmp_path: Path) -> None:
    path = create(Draft("tokyo", ("us-west-2a",), for_rehearsal=True), tmp_path)
    assert FakeEnvironment.stored == {}
    assert set(_config(path)) == {"aws:region", "edge-inference:sites"}

    class Cloud(CloudStatus):
        def request(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:  # noqa: ARG002
            return {}

    prepared = prepare_stack(path, tmp_path, Cloud(tmp_path, "", 1, 1, "http://127.0.0.1:1", "", keys.make()))
    assert any("domain" in each for each in prepared.stand_ins)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"zones": ("us-west-2-lax-1",)}, "sites[0].zone"),
        ({"zones": ("us-west-2a", "us-west-2a")}, "sites[1].zone"),
        ({"ssh_cidrs": ("0.0.0.0/0",)}, "access.sshCidrs[0]"),
        ({"client_cidrs": ("192.0.2.1/32",)}, "documentation address"),
        ({"domain": "llm.example.com", "hosted_zone": "example.com"}, "example name"),
        ({"hosted_zone": "other.dev"}, "does not lie in"),
        ({"model": "no-owner"}, "server.model"),
    ],
)
def test_what_the_program_would_refuse_is_refused_before_anything_is_written(
    tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError) as refused:
        create(Draft(**{**vars(DRAFT), **changed}), tmp_path)
    assert named in str(refused.value)
    assert "hf_given" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert FakeEnvironment.stored == {}


def test_nothing_half_made_is_left_where_the_secrets_cannot_be_stored(tmp_path: Path, environment: type[FakeEnvironment]) -> None:
    environment.fails = EdgeError("no login")
    with pytest.raises(EdgeError, match="no login"):
        create(DRAFT, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_environment_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.tokyo.yaml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not overwritten"):
        create(DRAFT, tmp_path)
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["", "Tokyo", "to kyo", "../x", "a" * 32, "1a", "tokyo."])
def test_names_that_no_environment_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for an environment"):
        initial.refuse_existing(name, tmp_path)


def _asked_aws(*_: object) -> None:
    pytest.fail("edge init asks AWS nothing, and docs/how-to/permissions.md says so")


def _edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(setup, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _asked_aws)
    return CliRunner().invoke(app, ["init", *arguments])


def test_without_questions_the_callers_own_address_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_own_cidr", lambda: OWN)
    monkeypatch.setenv("MY_TOKEN", "hf_from_variable")
    answer = _edge(
        tmp_path, monkeypatch, "tokyo", "--yes", "--zone", "us-west-2a", "--domain", "llm.acme.dev",
        "--hugging-face-token-env", "MY_TOKEN",
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    config = _config(tmp_path / "Pulumi.tokyo.yaml")
    assert config["edge-inference:access"] == {"clientCidrs": [OWN], "sshCidrs": [OWN]}
    assert config["edge-inference:routing"]["hostedZone"] == "acme.dev"
    assert FakeEnvironment.stored["edge-inference:huggingFaceToken"] == "hf_from_variable"
    assert "hf_from_variable" not in answer.output


def test_without_questions_everything_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_own_cidr", lambda: "")
    answer = _edge(tmp_path, monkeypatch, "tokyo", "--yes")
    assert isinstance(answer.exception, UsageError)
    assert all(option in str(answer.exception) for option in ("--zone", "--ssh-cidr", "--client-cidr"))
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = _edge(tmp_path, monkeypatch, "tokyo", "--zone", "us-west-2a")
    assert isinstance(answer.exception, UsageError)
    assert "--yes" in str(answer.exception)


def test_zones_are_chosen_by_number_or_name() -> None:
    assert initial.chosen_zones(["2", "us-west-2a", "2"], ["a", "b"]) == ("b", "us-west-2a")
    with pytest.raises(UsageError, match="at least one zone"):
        initial.chosen_zones([], ["a", "b"])
    with pytest.raises(UsageError, match="1 to 2"):
        initial.chosen_zones(["3"], ["a", "b"])


# Asked on a terminal


def _on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, answers: Sequence[tuple[str, str]], own: str = OWN
) -> tuple[int, str]:
    """What `edge init` shows on a terminal, colours left out; secrets that it stores are written to a file named `stored`."""

    def kept(_: object, values: Mapping[str, str]) -> None:
        (tmp_path / "stored").write_text(json.dumps(dict(values)), encoding="utf-8")

    monkeypatch.setattr(FakeEnvironment, "store_secrets", kept)
    monkeypatch.setattr(setup, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(setup, "_own_cidr", lambda: own)
    monkeypatch.setattr("sys.argv", ["edge", "init", *arguments])
    # Echo is off only once the prompt stands there whole.
    code, shown = in_a_terminal(main, answers=[(rf"{question}.*: $", keys) for question, keys in answers])
    plain = COLOURS.sub("", shown)
    assert max(len(line.rpartition(": ")[0] or line) for line in plain.splitlines()) <= 78, plain
    assert "Traceback" not in plain
    return code, plain


def test_a_person_is_asked_for_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        ("Cities where users are", "Honolulu, Los Angeles\n"),
        ("Zones of the sites", "2 us-west-2a\n"),
        ("Name of the service", "llm.acme.dev\n"),
        (r"Public hosted zone that it lies in \[acme.dev\]", "\n"),
        (rf"Address that deploys.*\[{OWN}\]", "\n"),
        (rf"Who may call.*\[{OWN}\]", f"{OWN} 93.184.216.0/24\n"),
        (rf"Model on the Hugging Face Hub \(OWNER/NAME\) \[{initial.DEFAULT_MODEL}\]", "\n"),
        ("Hugging Face token", "hf_typed-by-a-person\n"),
    ]
    code, shown = _on_a_terminal(tmp_path, monkeypatch, "tokyo", answers=answers)
    assert code == 0, shown
    first = next(line for line in shown.splitlines() if line.startswith("1 "))
    assert first.split()[:5] == ["1", "us-west-2-lax-1a", "Los", "Angeles", "~5"], "the cheaper of the two that are as near"
    assert "nearest" in shown
    assert "not measured" in shown
    path = tmp_path / "Pulumi.tokyo.yaml"
    assert _config(path) == {
        "aws:region": "us-west-2",
        "edge-inference:sites": [{"zone": "us-west-2-hnl-1a"}, {"zone": "us-west-2a"}],
        "edge-inference:access": {"clientCidrs": [OWN, "93.184.216.0/24"], "sshCidrs": [OWN]},
        "edge-inference:routing": {"domain": "llm.acme.dev", "hostedZone": "acme.dev"},
    }
    text = path.read_text(encoding="utf-8")
    assert "# Honolulu; opt in once: --group-name us-west-2-hnl-1" in text
    stored = json.loads((tmp_path / "stored").read_text(encoding="utf-8"))
    assert stored["edge-inference:huggingFaceToken"] == "hf_typed-by-a-person"
    assert not any(line in shown + text for secret in stored.values() for line in secret.split("\n") if line)
    assert "edge up tokyo --local" in shown
    assert "edge doctor tokyo" in shown


def test_a_person_is_asked_again_for_what_would_be_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        ("Cities where users are", "Berlyn\n"),
        ("-> Berlin[^:]*\\r\\n.*Cities where users are", "Berlin\n"),
        ("Zones of the sites", "99\n"),
        ("no number 99[^~]*Zones of the sites", "us-west-2-lxa-1a\n"),
        ("no zone 'us-west-2-lxa-1a' is on the map[^~]*Zones of the sites", "ham lax-1b\n"),
        ("Name of the service", "llm\n"),
        ("llm[^~]*: [^~]*Name of the service", "llm.acme.dev\n"),
        ("Public hosted zone", "other.dev\n"),
        ("does not lie in[^~]*Public hosted zone", "\n"),
        ("Address that deploys", "\n"),
        ("at least one is needed[^~]*Address that deploys", f"{OWN}\n"),
        ("Who may call", "everybody\n"),
        ('everybody": [^~]*Who may call', f"{OWN}, 93.184.216.0/24\n"),
        ("Model on the Hugging Face Hub", "llama\n"),
        ('llama": [^~]*Model on the Hugging Face Hub', "Qwen/Qwen2.5-3B-Instruct\n"),
        ("Hugging Face token", "hf with blanks\n"),
        ("Hugging Face token", "hf_typed-by-a-person\n"),
    ]
    code, shown = _on_a_terminal(tmp_path, monkeypatch, "tokyo", answers=answers, own="")
    assert code == 0, shown
    config = _config(tmp_path / "Pulumi.tokyo.yaml")
    assert config["edge-inference:sites"] == [{"zone": "eu-central-1-ham-1a"}, {"zone": "us-west-2-lax-1b"}]
    assert config["edge-inference:access"] == {"clientCidrs": [OWN, "93.184.216.0/24"], "sshCidrs": [OWN]}
    assert config["edge-inference:routing"] == {"domain": "llm.acme.dev", "hostedZone": "acme.dev"}
    assert "hf with blanks" not in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--zone", "us-west-2-lxa-1a"], "no zone 'us-west-2-lxa-1a' is on the map\n  -> us-west-2-lax-1a or us-west-2-las-1a"),
        (["--zone", "us-west-2z"], "no zone 'us-west-2z' is on the map\n  -> us-west-2a"),
        (["--zone", "phx"], "'phx' may be us-west-2-phx-1a or us-west-2-phx-2a\n  -> type the one"),
        (["--client-cidr", "x"], '"x": is no IPv4 network'),
        (["--model", "llama"], '"llama": '),
    ],
)
def test_what_was_given_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    for more in ([], ["--yes"]):
        answer = _edge(tmp_path, monkeypatch, "tokyo", *options, *more)
        assert isinstance(answer.exception, UsageError)
        assert said in str(answer.exception)
    assert list(tmp_path.iterdir()) == []


def test_every_zone_of_the_map_is_known() -> None:
    for group in (*ZONE_GROUPS, *REGIONS):
        assert initial.known_zone(f"{group}a") == f"{group}a"
    assert [initial.known_zone(word) for word in ("lax", "lax-1b", "us-east-1")] == [
        "us-west-2-lax-1a", "us-west-2-lax-1b", "us-east-1a"
    ]  # fmt: skip


def test_a_person_may_leave_all_to_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("Name of the service", "\n"), *[(rf"\[{OWN}\]", "\n")] * 2, ("Model", "\n"), ("Hugging Face token", "\n")]
    code, shown = _on_a_terminal(tmp_path, monkeypatch, "tokyo", "--zone", "us-west-2a", answers=answers)
    assert code == 0, shown
    assert _config(tmp_path / "Pulumi.tokyo.yaml")["edge-inference:routing"] == {"policy": "none"}
    assert "edge-inference:huggingFaceToken" not in (tmp_path / "stored").read_text(encoding="utf-8")


def test_a_person_who_presses_ctrl_c_has_written_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("Name of the service", CTRL_C)]
    code, shown = _on_a_terminal(tmp_path, monkeypatch, "tokyo", "--zone", "us-west-2a", answers=answers)
    assert code != 0
    assert "what was finished stays" not in shown
    assert list(tmp_path.iterdir()) == []


def test_before_anything_is_asked_an_environment_that_is_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "Pulumi.tokyo.yaml"
    path.write_text("mine", encoding="utf-8")
    code, shown = _on_a_terminal(tmp_path, monkeypatch, "tokyo", answers=[])
    assert code == 2
    assert "is not overwritten" in " ".join(shown.split())
    assert path.read_text(encoding="utf-8") == "mine"
    assert "Cities" not in shown


def test_without_a_name_a_project_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["init"])
    assert answer.exit_code == 0, answer.output
    assert "edge up local" in answer.stderr
    again = CliRunner().invoke(app, ["init"])
    assert "already, and nothing was written" in str(again.exception)


def test_options_without_a_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["init", "--zone", "us-west-2a"])
    assert "edge init NAME OPTIONS" in str(answer.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_project_is_not_begun_inside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT_ROOT / "docs")
    answer = CliRunner().invoke(app, ["init"])
    assert "is a project already\n  -> edge init NAME" in str(answer.exception)
