"""What is documented about the stack config is what the models say, and the editors' schema takes the project's own files."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components.settings import SECTIONS, GeolocationSettings, Secrets, SiteSettings
from tools import code_reference, generate_docs

ROOT = Path(__file__).parents[3]
SECURE = {"secure": "v1:abc"}


def validator() -> Any:  # the library's own types know no plain JSON value
    return jsonschema.Draft202012Validator(json.loads(generate_docs.schema_text()))


def test_documents_are_fresh() -> None:
    assert generate_docs.main(["--check"]) == 0, "run .venv/bin/python tools/generate_docs.py"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(generate_docs.schema_text()))


@pytest.mark.parametrize("name", ["dev", "prod", "local"])
def test_committed_stack_files_pass(name: str) -> None:
    content = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text(encoding="utf-8"))
    assert not [error.message for error in validator().iter_errors(content)]


def test_every_key_passes() -> None:
    config = {
        "aws:region": "us-west-2",
        "edge-inference:sites": [{"zone": "us-west-2a", "replicas": 2, "volumeType": None, "optIn": True}],
        "edge-inference:server": {"engine": "vllm", "extraArguments": ["--x"]},
        "edge-inference:access": {"clientCidrs": ["8.8.8.8/32"], "sshCidrs": ["8.8.8.8/32"]},
        "edge-inference:routing": {
            "policy": "geolocation",
            "hostedZoneId": "Z0123",
            "bias": {"us-west-2": -5},
            "geolocation": {"default": "us-west-2a", "usStates": {"HI": "us-west-2a"}},
        },
        "edge-inference:drained": ["us-west-2a"],
        "edge-inference:network": {},
        "edge-inference:host": {"amis": {"us-west-2": "ami-01234567"}},
        "edge-inference:tags": {"team": "edge"},
        "edge-inference:sshPrivateKey": SECURE,
        "edge-inference:hostKeySecret": SECURE,
        "edge-inference:huggingFaceToken": SECURE,
    }
    assert validator().is_valid({"encryptionsalt": "v1:x", "config": config})


@pytest.mark.parametrize(
    "config",
    [
        {"edge-inference:site": []},
        {"edge-inference:sites": []},
        {"edge-inference:sites": [{"replicas": 1}]},
        {"edge-inference:sites": [{"zone": "us-west-2a", "instance_type": "x.y"}]},
        {"edge-inference:sites": [{"zone": "us-west-2a", "replicas": 0}]},
        {"edge-inference:server": {"port": 70000}},
        {"edge-inference:server": {"engine": "ollama"}},
        {"edge-inference:access": {"clientCidrs": ["8.8.8.8/32"]}},
        {"edge-inference:huggingFaceToken": "hf_in_clear"},
        {"edge-inference:tags": {"team": 1}},
        {"edge-inference:routing": {"bias": {"us-west-2": 100}}},
        {"edge-inference:routing": {"geolocation": {"usStates": {}}}},
        {"edge-inference:drained": "us-west-2a"},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_program_refuses_is_marked_in_the_editor(config: dict[str, Any]) -> None:
    assert not validator().is_valid({"config": config})


def test_other_keys_are_none_of_its_business() -> None:
    assert validator().is_valid({"config": {"aws:maxRetries": 3, "pulumi:tags": {"a": "b"}}})


def test_table_has_a_row_for_every_field() -> None:
    table = generate_docs.table()
    keys = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    fields = [
        f"{section}.{field.alias}"
        for section, model in {"sites[]": SiteSettings, **SECTIONS, "routing.geolocation": GeolocationSettings}.items()
        for field in model.model_fields.values()
    ]
    of_all = {*fields, "drained", "tags", "protect", *(str(field.alias) for field in Secrets.model_fields.values())}
    assert Counter(keys) == Counter(of_all - {"routing.geolocation"}), "a section within a section is its fields"


def test_every_row_has_three_cells_and_a_meaning() -> None:
    for row in generate_docs.table().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 3
        assert all(cells), row


@pytest.mark.parametrize(
    "row",
    [
        "| `sites[].zone` | text, required |",
        "| `sites[].replicas` | 1 to 20, `1` |",
        "| `sites[].volumeType` | `gp2` \\| `gp3`, unset |",
        "| `sites[].optIn` | true or false or `anyway`, `false` |",
        "| `access.clientCidrs` | list of texts, required |",
        "| `routing.bias` | map of -99 to 99, none |",
        "| `routing.geolocation.default` | text, required |",
        "| `routing.geolocation.countries` | map of texts, none |",
        "| `host.amis` | map of texts, none |",
        "| `sshPrivateKey` | secret, required |",
        "| `huggingFaceToken` | secret, unset |",
    ],
)
def test_rows_say_type_and_default(row: str) -> None:
    assert row in generate_docs.table()


def test_table_is_written_between_the_markers_only() -> None:
    page = "before\n<!-- config table -->\nold | text\n<!-- /config table -->\nafter\n"
    written = generate_docs.filled(page, "config table", generate_docs.table())
    assert written == f"before\n<!-- config table -->\n{generate_docs.table()}<!-- /config table -->\nafter\n"
    assert generate_docs.filled(written, "config table", generate_docs.table()) == written
    assert generate_docs.filled(written, "another", "text") == written


@pytest.mark.parametrize("part", generate_docs.PARTS, ids=lambda part: part[0])
def test_every_part_has_its_place_on_its_page(part: tuple[str, str, object]) -> None:
    page = (generate_docs.REFERENCE / part[0]).read_text(encoding="utf-8")
    assert (page.count(f"<!-- {part[1]} -->"), page.count(f"<!-- /{part[1]} -->")) == (1, 1)


def test_every_command_argument_and_field_has_a_meaning() -> None:
    texts = code_reference.commands() + code_reference.results() + code_reference.components()
    rows = [row for row in texts.splitlines() if row.startswith("| `")]
    assert len(rows) > 300
    silent = [row for row in code_reference.commands().splitlines() if row.startswith("| `") and row.endswith("|  |")]
    assert silent == []


def test_python_names_what_the_page_of_methods_shows() -> None:
    text = code_reference.environment()
    for method in ("plan", "up", "destroy", "ask", "status", "outputs"):
        assert f"### {method}\n" in text
    assert "### open\n" not in text, "no business of a program"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Schema and page in a folder of this test; neither is there yet."""
    schema, page = tmp_path / "schema.json", tmp_path / "config.md"
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "SCHEMA_FILE", schema)
    monkeypatch.setattr(generate_docs, "SUMMARY_SCHEMA_FILE", tmp_path / "summary.schema.json")
    monkeypatch.setattr(generate_docs, "REFERENCE", tmp_path)
    return schema, page


def test_missing_files(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    schema, page = files
    assert generate_docs.main(["--check"]) == 1
    assert not schema.exists()
    assert "schema.json is not what the code says\n  -> " in capsys.readouterr().err
    assert generate_docs.main([]) == 0
    assert schema.read_text(encoding="utf-8") == generate_docs.schema_text()
    assert not page.exists(), "the page is somebody's own work"
    assert generate_docs.main(["--check"]) == 0


def test_stale_table(files: tuple[Path, Path]) -> None:
    _, page = files
    page.write_text("<!-- config table -->\n<!-- /config table -->\n", encoding="utf-8")
    generate_docs.main([])
    assert generate_docs.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("sites[].zone", "zone"), encoding="utf-8")
    assert generate_docs.main(["--check"]) == 1
