"""`ttft measure` on a vantage host: a plan in, raw samples out, and nothing but requests needed."""

import io
import subprocess
import sys
from dataclasses import replace

import pytest

from ttft import vantage
from ttft.errors import TtftError
from ttft.files import read_raw
from ttft.samples import Target
from ttft.schedule import Plan
from ttft.selftest_server import Timing, selftest_server


def plan(url: str = "http://192.0.2.1") -> Plan:
    target = Target("Oregon from Honolulu", url, city="Honolulu", site="Oregon", connect_port=8443)
    return Plan((target,), rounds=2, prompt_tokens=(16, 32), gap_seconds=0.0, output_tokens=2, api_key="not-shown-anywhere")


def test_a_plan_survives_its_way() -> None:
    assert vantage.plan_from_json(vantage.plan_to_json(plan())) == plan()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"targets": [{"name": "not-shown-anywhere"}]}', '{"targets": [], "api_key": "not-shown-anywhere"}']
)
def test_what_is_no_plan_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(TtftError) as raised:
        vantage.plan_from_json(text)
    assert "not-shown" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_the_command_measures_and_writes_raw_samples() -> None:
    with selftest_server(Timing(first_token_ms=2, token_ms=1)) as server:
        measured = plan(f"http://127.0.0.1:{server.port}")
        target = Target("here", f"http://127.0.0.1:{server.port}", city="Honolulu")
        text = vantage.plan_to_json(replace(measured, targets=(target,)))
        finished = subprocess.run(
            [sys.executable, "-m", "ttft", "measure"], input=text, capture_output=True, text=True, timeout=60, check=False
        )
    assert finished.returncode == 0, finished.stderr
    assert "not-shown" not in finished.stdout + finished.stderr
    run = read_raw(io.StringIO(finished.stdout), "standard output")
    assert len(run.samples) == 2 * 2 * 2
    assert run.targets == [target]


def test_it_needs_nothing_but_requests() -> None:
    """What a vantage host does not have is not imported."""
    absent = ("numpy", "scipy", "typer", "rich", "pydantic", "jinja2")
    check = f"import sys, ttft.vantage, ttft.schedule; print([name for name in {absent} if name in sys.modules])"
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
