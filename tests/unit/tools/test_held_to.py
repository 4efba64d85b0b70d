"""docs/explanation/held-to.md names files that exist and versions that are pinned. That it is complete and true is left out."""

import re

from automation.paths import PROJECT_ROOT

TABLE = (PROJECT_ROOT / "docs" / "explanation" / "held-to.md").read_text(encoding="utf-8")
LISTS = (*PROJECT_ROOT.glob("requirements*.txt"), *PROJECT_ROOT.glob("*/requirements.txt"))
FOLDERS = ("unit/", "engine/", "host/", "data/")
"""As the table names them, below tests/."""


def test_every_file_that_it_names_exists() -> None:
    folder, named = "", list[str]()
    for path in re.findall(r"`([a-z_/]+(?:/|\.py|\.txt))`", TABLE):
        if path.startswith(FOLDERS):
            folder = f"tests/{path.rpartition('/')[0]}"
            named.append(f"tests/{path}")
        elif "/" in path:
            named.append(path)
        else:  # a neighbour of the one before, or a table beside the tests' folders
            named.append(f"tests/{path}" if (PROJECT_ROOT / "tests" / path).exists() else f"{folder}/{path}")
    assert len(named) > 50
    assert [path for path in named if not (PROJECT_ROOT / path).exists()] == []


def test_versions_of_our_own_packages_are_the_pinned_ones() -> None:
    pins: dict[str, str] = dict(re.findall(r"(?m)^([\w-]+)==([\d.]+)", "\n".join(each.read_text() for each in LISTS)))
    for name in ("moto", "boto3", "pulumi-aws", "pulumi-command", "dnspython", "huggingface_hub", "openai"):
        assert pins[name] in TABLE, name


def test_pebble_is_the_one_that_is_built() -> None:
    (version,) = re.findall(r"pebble/v2 v([\d.]+)", (PROJECT_ROOT / "tools" / "pebble" / "go.mod").read_text())
    assert f"| {version} | `unit/api/test_certificates.py`" in TABLE
