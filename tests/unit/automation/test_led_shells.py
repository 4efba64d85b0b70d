"""N11: a shell after `eval "$(edge env local)"` is refused by what means AWS, with the line that makes it an ordinary one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from automation.engine import local
from automation.engine.led_shells import refuse_led_shell
from automation.errors import UsageError
from automation.paths import LOCAL_DIRECTORY, PROJECT_ROOT
from localcloud import keys
from localcloud.client import CloudStatus

LED = {
    "PULUMI_BACKEND_URL": local.backend(LOCAL_DIRECTORY),
    "AWS_ENDPOINT_URL": "http://127.0.0.1:4599",
    "HF_ENDPOINT": "http://x",
}


def edge(script: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -c 'from automation.cli import main; main()'"
    shell = f'edge() {{ {program} "$@"; }}; {script}'
    path = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(PROJECT_ROOT)}
    return subprocess.run(
        ["bash", "-c", shell], env={**path, **variables}, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )


def test_a_led_shell_is_refused_and_the_line_it_is_told_mends_it() -> None:
    refused = edge("edge config dev", LED)
    assert refused.returncode == 2
    assert "is led to the local cloud: nothing was asked or changed" in refused.stderr
    line = refused.stderr.partition("-> ")[2].splitlines()[0]
    assert edge(f"{line}\nedge config dev", LED).returncode == 0


@pytest.mark.parametrize("name", ["config local", "config dev --local"])
def test_it_is_right_for_the_local_cloud(name: str) -> None:
    assert edge(f"edge {name}", LED).returncode == 0


def test_another_backend_is_nobodys_business(tmp_path: Path) -> None:
    refuse_led_shell("dev", tmp_path, {"PULUMI_BACKEND_URL": "file:///elsewhere", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    with pytest.raises(UsageError, match="unset PULUMI_BACKEND_URL"):
        refuse_led_shell("dev", tmp_path, {"PULUMI_BACKEND_URL": local.backend(tmp_path)})


def test_all_that_the_shell_is_given_is_taken_away(tmp_path: Path) -> None:
    keys_of_cloud = keys.make()
    cloud = CloudStatus(tmp_path, "world", 1, 4599, "http://127.0.0.1:4599", "now", keys_of_cloud)
    with pytest.raises(UsageError) as raised:
        refuse_led_shell("dev", tmp_path, local.local_environment(tmp_path, cloud))
    told = str(raised.value)
    assert all(name in told for name in local.local_environment(tmp_path, cloud))
    assert keys_of_cloud.secret_access_key not in told
