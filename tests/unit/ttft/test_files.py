"""Raw files: they hold the whole run, and say where they are broken."""

import io
import json

import made_up
import pytest

from ttft.errors import TtftError
from ttft.files import merge, read_raw, write_raw
from ttft.samples import Run, ServerView
from ttft.summary import summarize


def written(run: Run) -> list[str]:
    file = io.StringIO()
    write_raw(run, file)
    return file.getvalue().splitlines()


def test_a_run_comes_back_as_it_was() -> None:
    run = made_up.run(connections=("warm", "cold"), rounds=4)
    run.failures.append(made_up.failure("Oregon", kind="http", status=500))
    run.server_views.append(ServerView("Oregon", 8, 47.5, None))
    again = read_raw(written(run), "raw")
    assert again == run


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "line 3 is no entry"),
        ('{"sample": 1, "failure": 2}', "line 3 is no entry"),
        ('{"unknown": {}}', "line 3 is no entry"),
        ('{"target": {"name": "x"}}', "line 3: url"),
    ],
)
def test_a_broken_line_is_named(line: str, reason: str) -> None:
    lines = written(made_up.run(rounds=1))
    lines[2] = line
    with pytest.raises(TtftError, match=reason):
        read_raw(lines, "raw")


def test_a_number_that_is_none_is_named() -> None:
    lines = written(made_up.run(rounds=1))
    entry = json.loads(lines[3])
    entry["sample"]["ttft_ms"] = "soon"
    lines[3] = json.dumps(entry)
    with pytest.raises(TtftError, match="line 4: ttft_ms"):
        read_raw(lines, "raw")


def test_an_empty_file_is_no_run() -> None:
    with pytest.raises(TtftError, match="no set-up or no targets"):
        read_raw([], "raw")


def test_runs_of_several_vantage_points_become_one() -> None:
    here, there = (made_up.run(made_up.targets((city,)), rounds=12) for city in ("Los Angeles", "Honolulu"))
    there.setup |= {"simulated": {"network": True, "model": False}, "notes": ["a word"]}
    run = merge([here, there])
    summary = summarize(run)
    assert [each.city for each in summary.headlines] == ["Los Angeles", "Honolulu"]
    assert summary.simulated.parts == ("network",)
    assert "a word" in summary.notes
    assert len(run.setup["servers"]) == 4  # type: ignore[arg-type]
