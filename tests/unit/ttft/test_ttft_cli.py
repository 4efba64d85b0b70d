"""The command: results on standard output, words on standard error, exit codes, mistakes in one line, Ctrl-C."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_up
import pytest

from ttft import cli, schedule
from ttft.files import write_raw
from ttft.results import Summary
from ttft.samples import Run
from ttft.selftest_server import SelftestServer, Timing, selftest_server
from ttft.summary import summarize

Ttft = Callable[..., int]


@pytest.fixture
def ttft(monkeypatch: pytest.MonkeyPatch) -> Ttft:
    """Runs the command in this process and gives its exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ttft", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[SelftestServer]:
    with selftest_server(Timing(first_token_ms=5, token_ms=1)) as running:
        yield running


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[schedule.Plan]:
    """Nothing is measured: what would have been, and a made-up run instead."""
    seen: list[schedule.Plan] = []

    def run(plan: schedule.Plan, on_progress: object) -> Run:
        del on_progress
        seen.append(plan)
        return (
            made_up.run(list(plan.targets))
            if {each.name for each in plan.targets} <= {"Oregon", "Los Angeles"}
            else made_up.run()
        )

    monkeypatch.setattr(schedule, "run", run)
    return seen


def test_a_real_run_from_end_to_end(
    ttft: Ttft, server: SelftestServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    raw, page = tmp_path / "raw.jsonl", tmp_path / "page.html"
    options = ("--rounds", "3", "--gap", "0", "--connection", "both", "--output-tokens", "4")
    assert ttft(f"a={url}", f"b={url}/role-opener", *options, "--json", "-", "--raw", str(raw), "--html", str(page)) == 0
    output = capsys.readouterr()
    value: dict[str, Any] = json.loads(output.out)
    assert [(each["name"], each["connection"], each["samples"]) for each in value["targets"]] == [
        ("a", "warm", 3), ("b", "warm", 3), ("a", "cold", 3), ("b", "cold", 3),
    ]  # fmt: skip
    assert value["simulated"]["model"] is True
    assert "3 rounds are too few to compare" in output.err
    assert "</html>" in page.read_text(encoding="utf-8")
    # What was written says the same again.
    again = tmp_path / "again.json"
    assert ttft("report", str(raw), "--json", str(again)) == 0
    assert json.loads(again.read_text(encoding="utf-8"))["targets"] == value["targets"]


def test_a_dead_target_has_an_exit_code_of_its_own(
    ttft: Ttft, server: SelftestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    assert ttft(f"good={url}", f"bad={url}/only-done", "--rounds", "2", "--gap", "0") == cli.EXIT_NO_SAMPLES
    assert "bad gave no first token over warm connections (2 empty_stream)" in capsys.readouterr().out


@pytest.mark.parametrize(("slo", "code"), [("75", cli.EXIT_SLO_MISSED), ("400", 0)])
def test_slo_sets_the_exit_code(ttft: Ttft, plans: list[schedule.Plan], slo: str, code: int) -> None:
    assert ttft("Los Angeles=http://192.0.2.1", "Oregon=http://192.0.2.2", "--slo", slo) == code
    assert len(plans) == 1


def test_options_reach_the_plan(ttft: Ttft, plans: list[schedule.Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_KEY", "not-shown-anywhere")
    (tmp_path / "ca.pem").touch()
    ttft(
        "Oregon=https://192.0.2.1:8443/", "--rounds", "7", "--connection", "cold", "--prompt-tokens", "64,512",
        "--dialect", "chat", "--rate", "5", "--requests", "20", "--city", "Honolulu",
        "--source-address", "192.0.2.9", "--simulated", "network",
        "--api-key-env", "MY_KEY", "--ca", str(tmp_path / "ca.pem"), "--timeout", "3", "--gap", "0.5", "--seed", "4",
    )  # fmt: skip
    (plan,) = plans
    (target,) = plan.targets
    assert (target.name, target.url, target.city) == ("Oregon", "https://192.0.2.1:8443", "Honolulu")
    assert (target.site, target.source_address) == ("Oregon", "192.0.2.9")
    assert (plan.rounds, plan.connections, plan.prompt_tokens, plan.dialect) == (7, ("cold",), (64, 512), "chat")
    assert (plan.rate_per_second, plan.requests_per_turn, plan.concurrency) == (5, 20, 1)
    assert (plan.simulated_network, plan.simulated_model) == (True, None)
    assert (plan.api_key, plan.first_token_timeout_seconds, plan.gap_seconds, plan.seed) == ("not-shown-anywhere", 3, 0.5, 4)
    assert plan.stall_timeout_seconds == schedule.Plan(plan.targets).stall_timeout_seconds


def test_a_key_is_in_no_result(
    ttft: Ttft, server: SelftestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", "not-shown-anywhere")
    files = [tmp_path / name for name in ("raw", "json", "html")]
    paths = [part for file in files for part in (f"--{file.name}", str(file))]
    ttft(f"http://127.0.0.1:{server.port}", "--rounds", "2", "--gap", "0", "--api-key-env", "MY_KEY", *paths)
    output = capsys.readouterr()
    for text in (output.out, output.err, *(file.read_text(encoding="utf-8") for file in files)):
        assert "not-shown" not in text


@pytest.mark.parametrize(
    "mistake",
    [
        ((), "Missing argument", "ttft --help"),
        (("192.0.2.1:8080",), "is no http or https URL", "ttft http://192.0.2.1:8080"),
        (("http://192.0.2.1/v1/chat/completions",), "is a route", "ttft http://192.0.2.1 --dialect chat"),
        (("http://192.0.2.1", "--prompt-tokens", "many"), "whole numbers above 0", "--prompt-tokens 128,512"),
        (("http://192.0.2.1", "--rate", "3", "--concurrency", "2"), "exclude each other", "--rate: open loop"),
        (("http://192.0.2.1", "--rounds", "0"), "--rounds", "ttft --help"),
        (("http://192.0.2.1", "--ca", "nowhere.pem"), "no such file", ""),
        (("http://192.0.2.1", "--html", "nowhere/page.html"), "cannot be written", "a folder that exists"),
        (("http://192.0.2.1", "--no-such-option"), "--no-such-option", "ttft --help"),
        (("report", "nowhere.json"), "cannot be read", "ttft --raw or --json"),
        (("compare", "nowhere.json"), "Missing argument", "ttft compare --help"),
    ],
)
def test_mistakes_are_told_in_a_line_with_the_remedy(
    ttft: Ttft,
    plans: list[schedule.Plan],
    capsys: pytest.CaptureFixture[str],
    mistake: tuple[tuple[str, ...], str, str],
) -> None:
    arguments, found, remedy = mistake
    assert ttft(*arguments) == cli.EXIT_USAGE
    output = capsys.readouterr()
    assert output.out == ""
    error, _, after = output.err.partition("\n")
    assert error.startswith("error: ")
    assert found in error
    assert remedy in after
    assert not plans, "nothing was measured"


@pytest.mark.parametrize("value", ["sk-secret", ""])
def test_a_key_given_instead_of_its_variable_is_not_repeated(
    ttft: Ttft, plans: list[schedule.Plan], capsys: pytest.CaptureFixture[str], value: str
) -> None:
    assert ttft("http://192.0.2.1", "--api-key-env", value) == cli.EXIT_USAGE
    assert "sk-secret" not in capsys.readouterr().err
    assert not plans


def test_a_password_in_a_url_is_not_repeated(ttft: Ttft, capsys: pytest.CaptureFixture[str]) -> None:
    assert ttft("http://me:secret@192.0.2.1") == cli.EXIT_USAGE
    assert "secret" not in capsys.readouterr().err


def test_a_summary_cannot_be_judged_anew(ttft: Ttft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    path.write_text(summarize(made_up.run()).model_dump_json(), encoding="utf-8")
    assert ttft("report", str(path), "--slo", "50") == cli.EXIT_USAGE
    assert "ttft report RAW --slo MS" in capsys.readouterr().err
    assert ttft("report", str(path)) == 0
    assert "Los Angeles answers" in capsys.readouterr().out


def test_compare_takes_summaries_and_raw_files(ttft: Ttft, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.jsonl"
    before.write_text(summarize(made_up.run()).model_dump_json(), encoding="utf-8")
    with after.open("w", encoding="utf-8") as file:
        write_raw(made_up.run(seed=2), file)
    assert ttft("compare", str(before), str(after)) == 0
    assert "not shown" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [(), ("report",), ("compare",), ("selftest",)])
def test_help_fits_a_screen_and_has_an_example(ttft: Ttft, verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert ttft(*verb, "--help") == 0
    text = capsys.readouterr().out
    assert "Example" in text
    assert len(text.splitlines()) <= 50
    assert max(map(len, text.splitlines())) <= 80


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "scipy", "requests", "rich", "pydantic")
    check = f"import sys; from ttft import cli; print([name for name in {heavy} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_ctrl_c_keeps_and_reports_what_was_measured(server: SelftestServer, tmp_path: Path) -> None:
    result, raw = tmp_path / "result.json", tmp_path / "raw.jsonl"
    command = [
        sys.executable, "-c", _INTERRUPTING, f"http://127.0.0.1:{server.port}", "--rounds", "100000", "--gap", "0",
        "--output-tokens", "2", "--json", str(result), "--raw", str(raw),
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == cli.EXIT_INTERRUPTED, finished.stderr
    assert "Traceback" not in finished.stderr
    summary = Summary.model_validate_json(result.read_text(encoding="utf-8"))
    assert summary.interrupted
    assert summary.targets[0].samples >= 5
    assert raw.read_text(encoding="utf-8").count('{"sample":') == summary.targets[0].samples
    assert "The run was interrupted" in finished.stdout


_INTERRUPTING = f"""
import os
from ttft import cli, console
shown = console.Progress.__call__
def after_five(self, made, seen=[]):
    shown(self, made)
    seen.append(made)
    if len(seen) == 5:
        os.kill(os.getpid(), {int(signal.SIGINT)})
console.Progress.__call__ = after_five
cli.main()
"""
