"""`edge zones --measure`: what it asks, what it writes, and who takes that. Delays are in tests/host/test_round_trips.py."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from automation.account import round_trips
from automation.account.round_trips import measure, public_targets
from automation.cli import app
from automation.errors import EdgeError, UsageError
from automation.sites.bench import Site, target
from geography.cities import CITIES
from geography.places import REGIONS
from placement.measured import FORMAT, measured_round_trips
from placement.world import users_of
from ttft.samples import Run, Sample
from ttft.summary import summarize

HONOLULU = CITIES["Honolulu"]


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_what_answers_is_timed_and_what_does_not_is_told(port: int, closed_port: int) -> None:
    targets = {"us-west-2": ("127.0.0.1", port), "us-west-2-hnl-1": ("127.0.0.1", closed_port), "eu-west-1": ("no.invalid", 1)}
    found = measure(targets, HONOLULU, rounds=3)
    assert {group: len(times) for group, times in found.times_ms.items()} == {"us-west-2": 3}
    assert found.silent["us-west-2-hnl-1"] == f"127.0.0.1 does not answer on TCP port {closed_port}"
    assert found.silent["eu-west-1"].startswith("no.invalid: ")


def test_nothing_that_answers_is_an_error(closed_port: int) -> None:
    with pytest.raises(EdgeError, match="none of 1 targets answered"):
        measure({"us-west-2": ("127.0.0.1", closed_port)}, HONOLULU, rounds=1)


def test_the_file_is_what_place_takes(port: int, tmp_path: Path) -> None:
    found = measure({"us-west-2": ("127.0.0.1", port)}, HONOLULU, rounds=3).described()
    assert found["format"] == FORMAT
    trip = found["round_trips"]["us-west-2"]
    assert trip["least_ms"] <= trip["median_ms"] <= trip["longest_ms"]
    path = tmp_path / "trips.json"
    path.write_text(json.dumps(found))
    taken = measured_round_trips([path], users_of(["US-HI"]))
    assert taken["Honolulu, US-HI", "us-west-2"].median_ms == trip["median_ms"]


def test_what_bench_writes_is_what_place_takes(tmp_path: Path) -> None:
    site = Site("us-west-2-lax-1a", "Los Angeles", "http://192.0.2.1:8080", "192.0.2.1", HONOLULU.place)
    measured = replace(target(site), name=f"{site.zone} from Honolulu", city="Honolulu")
    sample = Sample(
        measured.name, "warm", 0, 8, 8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 62.0, 50.0, 112.1, 62.0, 50.0, "headers", 61.5, 61.0,
        (112.1,), 113.0,
    )  # fmt: skip
    run = Run({"started": "2026-11-30T09:00:00+00:00", "simulated": {}}, [measured], [sample])
    path = tmp_path / "bench.json"
    path.write_text(summarize(run).model_dump_json())
    taken = measured_round_trips([path], users_of(["US-HI"]))
    assert taken["Honolulu, US-HI", "us-west-2-lax-1"].median_ms == 61.5
    assert "SIMULATED" not in taken["Honolulu, US-HI", "us-west-2-lax-1"].source


class Listing(BaseHTTPRequestHandler):
    """AWS's list, as others' parsers read it."""

    text = '[{"us-west-2": {"10.0.0.0/8": "10.0.0.1"}}, {"us-west-2-lax-1": {"10.1.0.0/16": "10.1.0.1"}}, {"mars-1": {"x": "y"}}]'

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def listing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Listing) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_regions_are_asked_at_their_api_and_local_zones_where_the_list_has_them(listing: str) -> None:
    said: list[str] = []
    targets = public_targets(said.append, listing)
    assert targets["us-west-2"] == ("ec2.us-west-2.amazonaws.com", 443)
    assert targets["us-west-2-lax-1"] == ("10.1.0.1", 80)
    assert len(targets) == len(REGIONS) + 1
    assert "names 1 of" in said[0]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '["x"]'])
def test_without_the_list_the_regions_alone_are_asked(listing: str, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(Listing, "text", text)
    said: list[str] = []
    assert public_targets(said.append, listing).keys() == REGIONS.keys()
    assert "Local Zone" in said[0]


def test_zones_ranks_by_what_it_measured(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_ireland(_say: object) -> dict[str, tuple[str, int]]:
        return {"eu-west-1": ("127.0.0.1", port)}

    monkeypatch.setattr(round_trips, "public_targets", only_ireland)
    path = tmp_path / "trips.json"
    answer = run("zones", "--near", "Honolulu", "--measure", "--output", str(path), "--top", "2")
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert lines[1].split()[:3] == ["eu-west-1a", "Ireland", "0"]
    assert lines[2].split()[:3] == ["us-west-2-hnl-1a", "Honolulu", "~5"]
    assert "TCP round trips of " in answer.stderr
    again = json.loads(run("zones", "--near", "Honolulu", "--near", "Boston", "--measured", str(path), "--json").stdout)
    assert [each["measured"] for each in again["zones"] if each["measured"]] == [["Honolulu"]]
    assert "from Honolulu" in again["sources"]["measured_for"][0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--measure",), "where this machine stands"),
        (("--measure", "--near", "Honolulu", "--near", "Boston"), "where this machine stands"),
        (("--measure", "--via", "ubuntu@host"), "no city and host"),
        (("--measure", "--via", "Honolulu=-oProxyCommand=x"), "no city and host"),
        (("--via", "Honolulu=ubuntu@host"), "belong to --measure"),
        (("--near", "Honolulu", "--measured", "nowhere.json"), "neither"),
    ],
)
def test_a_mistake_says_what_to_change(words: tuple[str, ...], told: str) -> None:
    error = run("zones", *words).exception
    assert isinstance(error, UsageError)
    assert told in str(error)


def test_from_another_host_the_probe_goes_over_ssh(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of `ssh`: a shell that runs the command here, as the host would."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "$@" >"$(dirname "$0")/words"\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    import os

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = measure({"us-west-2": ("127.0.0.1", port)}, HONOLULU, via="ubuntu@host", rounds=2)
    assert len(found.times_ms["us-west-2"]) == 2
    assert "-- ubuntu@host python3 -" in (tmp_path / "words").read_text()
    assert found.described()["from"]["host"] == "ubuntu@host"
