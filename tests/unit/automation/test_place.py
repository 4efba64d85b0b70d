"""`edge place`: its words, its errors, and the environment that it begins."""

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from automation.cli import app, main
from automation.commands import place as command
from components.settings import validate
from components.stack_config import StackConfig

USA = ("place", "--countries", "US-CA,US-NY", "--ttft", "60", "--prompt", "64")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "PROJECT_ROOT", tmp_path)
    return tmp_path


def test_the_tables_fit_80_columns_and_every_figure_has_a_source() -> None:
    answer = run(*USA, "--share", "99%")
    assert answer.exit_code == 0, answer.output
    assert max(map(len, answer.stdout.splitlines())) <= 80, answer.stdout
    assert "Chosen: 2 sites of g4dn.2xlarge, " in answer.stdout
    for word in ("round trips: estimated", "generation: estimate of", "2026-01-21, old:", "GeoNames", "sell no GPU"):
        assert word in answer.stderr


def test_json_is_alone_on_standard_output() -> None:
    told = json.loads(run(*USA, "--json").stdout)
    assert told["question"]["policy"] == "latency"
    assert {"round_trips_ms", "generation_ms", "dollars", "users", "order"} == told["sources"].keys()
    assert told["chosen"]["reached"] is True
    assert "eu-central-1-ist-1" in told["left_out"]["no_gpu"]
    assert len(told["users"]) == told["question"]["users"]


@pytest.mark.parametrize("policy", ["latency", "geoproximity", "geolocation"])
def test_the_file_that_it_writes_is_accepted_by_the_program(policy: str, folder: Path) -> None:
    answer = run(*USA, "--share", "99", "--policy", policy, "--write", "west")
    assert answer.exit_code == 0, answer.output
    config: dict[str, Any] = yaml.safe_load((folder / "Pulumi.west.yaml").read_text())["config"]
    sites = config["edge-inference:sites"]
    assert len(sites) == 2
    assert [site["optIn"] for site in sites if site["zone"].count("-") == 4] == ["anyway"] * sum(
        site["zone"].count("-") == 4 for site in sites
    )
    routing = config.get("edge-inference:routing", {})
    assert routing.get("policy", "latency") == policy
    own = {
        "edge-inference:sites": sites,
        "edge-inference:access": {"clientCidrs": ["127.0.0.1/32"], "sshCidrs": ["127.0.0.1/32"]},
        "edge-inference:routing": routing | {"domain": "west.edge.internal", "hostedZone": "edge.internal"},
    }
    checked = validate(StackConfig("west", {key: json.dumps(value) for key, value in own.items()}, frozenset()))
    assert not [problem for problem in checked.problems if "Key" not in problem.path and "Secret" not in problem.path]


def test_an_environment_that_is_there_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Pulumi.west.yaml").write_text("config: {}\n")
    assert _error(*USA, "--write", "west", capsys=capsys).startswith("error: there is an environment 'west' already")
    assert (folder / "Pulumi.west.yaml").read_text() == "config: {}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("place",), "whom to serve is not said"),
        (("place", "--countries", "QQ"), "'QQ'"),
        ((*USA, "--ttft", "nan"), "--ttft nan is no time"),
        ((*USA, "--share", "0"), "--share 0 is no percentage"),
        ((*USA, "--only", "Atlantis"), "'Atlantis'"),
        ((*USA, "--type", "p9.huge"), "no estimate for p9.huge"),
        ((*USA, "--budget", "5"), "a larger --budget"),
        (("place", "--users", "nowhere.csv"), "nowhere.csv cannot be read"),
    ],
)
def test_a_mistake_says_what_to_change(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = _error(*words, capsys=capsys)
    assert told in error
    assert "\n  -> " in error or "nowhere" in error


def test_without_scipy_the_line_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "scipy":
            raise ModuleNotFoundError("No module named 'scipy'", name="scipy")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    error = _error(*USA, capsys=capsys)
    assert "scipy" in error
    assert "  -> tools/setup.sh requirements-edge.txt" in error


def _error(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["edge", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert stopped.value.code == 2
    return capsys.readouterr().err
