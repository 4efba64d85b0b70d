"""The table of prices from offer files: samples made by hand from the columns that AWS documents (tests/data/offers-by-hand)."""

import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from automation.paths import PROJECT_ROOT
from tools import refresh_gpu_prices
from tools.refresh_gpu_prices import Found, OfferError, main, read

SAMPLES = PROJECT_ROOT / "tests" / "data" / "offers-by-hand"
OREGON = (SAMPLES / "us-west-2.csv").read_text(encoding="utf-8").splitlines(keepends=True)


class Offers(BaseHTTPRequestHandler):
    """AWS's web server, with the samples; `cut`: how many bytes of a CSV file it keeps to itself."""

    cut = 0

    def do_GET(self) -> None:
        path = SAMPLES / self.path.rpartition("/")[2]
        if not path.exists():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) - self.cut] if path.suffix == ".csv" else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def index() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Offers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/offers/region_index.json"
        server.shutdown()


def test_the_table_has_the_form_of_the_one_that_is_there(index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("# as_of: 2026-01-21\ngroup,type,dollars_per_hour\nus-west-2,g4dn.xlarge,0.5\nus-east-1,g6.xlarge,1\n")
    assert main(["--index", index, "--output", str(path)]) == 0
    lines = path.read_text().splitlines()
    real = refresh_gpu_prices.TABLE.read_text(encoding="utf-8").splitlines()
    assert lines[0] == real[0]
    assert lines[1] == "# as_of: 2026-11-18", "the day of the oldest file"
    assert lines[2].startswith("# source: AWS's public price list (127.0.0.1), ")
    assert lines[3:] == [
        real[3],
        "us-west-2,g4dn.xlarge,0.526",
        "us-west-2,g4dn.2xlarge,0.752",
        "us-west-2,g4dn.16xlarge,4.352",
        "us-west-2,g4dn.metal,7.824",
        "us-west-2,g6.2xlarge,0.9776",
        "us-west-2-hnl-1,g4dn.2xlarge,0.83",
        "us-west-2-lax-1,g4dn.2xlarge,0.902",
        "us-west-2-phx-2,g4dn.12xlarge,4.89",
    ]
    told = capsys.readouterr().err
    assert "8 prices of 4 places; before 2" in told
    assert "gone: us-east-1 g6.xlarge" in told
    assert "left out, two prices: us-west-2 g5.2xlarge" in told
    assert "US West (Phoenix) (us-west-2)" in told, "two zone groups are in Phoenix"


def test_the_project_reads_what_it_writes(index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geography import gpu_offers

    path = tmp_path / "prices.csv"
    assert main(["--index", index, "--output", str(path)]) == 0
    monkeypatch.setattr(gpu_offers, "_FILE", path)
    table = gpu_offers.price_table.__wrapped__()
    assert table.as_of == "2026-11-18"
    assert table.dollars_per_hour["us-west-2-lax-1"] == {"g4dn.2xlarge": 0.902}


def test_a_file_that_ends_too_soon_changes_nothing(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Offers, "cut", 1000)
    path = tmp_path / "prices.csv"
    path.write_text("as it was")
    assert main(["--index", index, "--output", str(path)]) == 1
    assert path.read_text() == "as it was"
    assert "bytes came" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no row of column names"),
        (["<html>\n"] * 50, "no row of column names"),
        ([*OREGON[:5], OREGON[5].replace('"Tenancy"', '"Tenant"'), *OREGON[6:]], "no column Tenancy"),
        ([*OREGON[:2], *OREGON[3:]], "does not say when it was published"),
    ],
)
def test_a_file_of_another_form_is_refused(lines: list[str], words: str) -> None:
    with pytest.raises(OfferError, match=words):
        read(lines, "us-west-2", Found())


@pytest.mark.parametrize("index_file", ["us-west-2.csv", "none.json"])
def test_an_index_that_is_none(index: str, index_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--index", index.replace("region_index.json", index_file), "--output", str(tmp_path / "x.csv")]) == 1
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_memory_does_not_grow_with_the_file() -> None:
    def many(times: int) -> Iterator[str]:
        yield from OREGON[:6]
        for _ in range(times):
            yield from OREGON[6:]

    def peak(times: int) -> int:
        tracemalloc.start()
        read(many(times), "us-west-2", Found())
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(400) < peak(4) + 50_000
