#!/usr/bin/env python3
"""Makes geography/gpu_prices.csv anew from AWS's public price list: the bulk offer files of EC2, which need no credentials.

    PYTHONPATH=. .venv/bin/python tools/refresh_gpu_prices.py

It reads one CSV file for each Region and Local Zone of geography/places.py, hundreds of MB each, line by line: it takes long and
little memory. Columns are as AWS documents them; it has not run against AWS yet. Left out: stock, Windows, reserved and spot
instances, Wavelength Zones. A price that two rows contradict is left out too, and told.
"""

import argparse
import csv
import json
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from itertools import islice
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from geography.places import REGIONS, ZONE_GROUPS

INDEX_URL = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/region_index.json"
TABLE = Path(__file__).resolve().parents[1] / "geography" / "gpu_prices.csv"
FAMILIES = ("g4dn", "g5", "g6", "g6e", "g7e")
"""Those with whole NVIDIA GPUs that a site of this project can serve from; a family of one eighth of a GPU, say, is none."""
WANTED = {
    "TermType": {"OnDemand"},
    "Unit": {"Hrs"},
    "Currency": {"USD"},
    "Product Family": {"Compute Instance", "Compute Instance (bare metal)"},
    "Location Type": {"AWS Region", "AWS Local Zone"},
    "Tenancy": {"Shared"},
    "Operating System": {"Linux"},
    "Pre Installed S/W": {"NA"},
    "CapacityStatus": {"Used"},
}
"""What a row says that is an on-demand list price of a plain Linux instance."""
OTHER_COLUMNS = ("SKU", "PricePerUnit", "Location", "Instance Type", "vCPU", "Region Code", "usageType")
_TIMEOUT_SECONDS = 60
_MOST_METADATA = 20
"""Five lines by AWS's documents; a file without a header within these is something else."""


class OfferError(Exception):
    """What was read is no price list, or not whole."""


@dataclass
class Found:
    """What the files say."""

    dollars: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """By zone group (of a Region's own zones: the Region) and instance type."""
    vcpus: dict[str, int] = field(default_factory=dict[str, int])
    contradicted: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    nowhere: set[str] = field(default_factory=set[str])
    """Locations that geography/places.py does not have."""
    published: set[str] = field(default_factory=set[str])
    """Days on which the files were published; the table is as old as the oldest."""


def main(arguments: Sequence[str]) -> int:
    """Writes the table; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", default=INDEX_URL, metavar="URL", help="AWS's index of the offer files (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=TABLE, metavar="FILE")
    given = parser.parse_args(arguments)
    try:
        text, notes = refreshed(given.index, given.output.read_text(encoding="utf-8") if given.output.exists() else "")
    except (OfferError, OSError, HTTPException) as error:
        print(f"error: {error}\n  {given.output} is as it was", file=sys.stderr)
        return 1
    given.output.write_text(text, encoding="utf-8")
    for note in notes:
        print(note, file=sys.stderr)
    return 0


def refreshed(index_url: str, before: str) -> tuple[str, list[str]]:
    """The new table's text, and what to say of it beside the table before."""
    found = Found()
    files = offer_files(index_url)
    for number, (code, url) in enumerate(files.items(), 1):
        print(f"{number} of {len(files)}: {code}", file=sys.stderr, flush=True)
        read(lines_of(url), code, found)
    for key in found.contradicted:
        found.dollars.pop(key, None)
    if not found.dollars:
        raise OfferError(f"no price of {', '.join(FAMILIES)} is in the {len(files)} files of {index_url}")
    return table(found, index_url), [*_notes(found, before)]


def offer_files(index_url: str) -> dict[str, str]:
    """By Region or zone group, the URL of its CSV file: those of the index that geography/places.py has."""
    try:
        regions = json.loads("".join(lines_of(index_url)))["regions"]
        urls = {str(code): str(each["currentVersionUrl"]) for code, each in regions.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OfferError(f"{index_url} is no index of offer files: {error!r}") from error
    known = {code: urljoin(index_url, url.removesuffix(".json") + ".csv") for code, url in urls.items() if _is_place(code)}
    if not known:
        raise OfferError(f"{index_url} names none of the Regions")
    return dict(sorted(known.items()))


def _is_place(code: str) -> bool:
    return code in REGIONS or code in ZONE_GROUPS


def lines_of(url: str) -> Iterator[str]:
    """The lines of a file, as they come. OfferError where the connection ends before the file does."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise OfferError(f"{url} is no web address")
    received = 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked just above
        response: HTTPResponse = answer
        for line in response:
            received += len(line)
            yield line.decode("utf-8")
        size = response.headers["Content-Length"]
    if size is not None and received != int(size):
        raise OfferError(f"{url}: {received} of {size} bytes came")


def read(lines: Iterable[str], code: str, found: Found) -> None:
    """Takes what one offer file says; `code` is the Region or zone group that the index has it under."""
    rows = csv.reader(lines)
    columns = _columns(rows, code, found)
    tests = [(columns[name], allowed) for name, allowed in WANTED.items()]
    kind, price, vcpus = columns["Instance Type"], columns["PricePerUnit"], columns["vCPU"]
    for row in rows:
        if row[kind].partition(".")[0] not in FAMILIES or not all(row[column] in allowed for column, allowed in tests):
            continue
        # Capacity that is reserved or bought in blocks has usage types of its own.
        if "BoxUsage" not in row[columns["usageType"]] or not float(row[price]):
            continue
        group = _group(row[columns["Region Code"]], row[columns["Location Type"]], row[columns["Location"]], code)
        if group is None:
            found.nowhere.add(f"{row[columns['Location']]} ({row[columns['Region Code']]})")
            continue
        found.vcpus[row[kind]] = int(row[vcpus])
        if found.dollars.setdefault((group, row[kind]), float(row[price])) != float(row[price]):
            found.contradicted.add((group, row[kind]))


def _columns(rows: Iterator[list[str]], code: str, found: Found) -> dict[str, int]:
    """Where each column is, from the first row after the metadata, which say when the file was published."""
    for row in islice(rows, _MOST_METADATA):
        if row[:1] == ["Publication Date"]:
            found.published.add(row[1][:10])
        if row[:1] == ["SKU"]:
            columns = {name: number for number, name in enumerate(row)}
            if missing := [name for name in (*WANTED, *OTHER_COLUMNS) if name not in columns]:
                raise OfferError(f"the file of {code} has no column {', '.join(missing)}: AWS has changed its format")
            if not found.published:
                raise OfferError(f"the file of {code} does not say when it was published")
            return columns
    raise OfferError(f"the file of {code} has no row of column names that begins with SKU: it is no price list")


def _group(region_code: str, location_type: str, location: str, file_code: str) -> str | None:
    """The zone group that a row is of: what follows says why its Region code alone does not do.

    Whether a Local Zone's rows carry its own code or its parent's, two public readers of these files disagree.
    """
    if location_type == "AWS Region":
        return region_code if region_code in REGIONS else None
    for code in (region_code, file_code):
        if code in ZONE_GROUPS:
            return code
    city = location.partition("(")[2].rstrip(")")
    in_city = [group for group, where in ZONE_GROUPS.items() if where.city == city and group.startswith(f"{region_code}-")]
    return in_city[0] if len(in_city) == 1 else None


def table(found: Found, index_url: str) -> str:
    """The file's text."""
    host, places = urlsplit(index_url).hostname, "by zone group (of a Region's own zones: the Region)"
    head = (
        f"# On-demand Linux list prices of GPU instances, US dollars per hour, {places}.\n"
        f"# as_of: {min(found.published)}\n"
        f"# source: AWS's public price list ({host}), bulk offer files of EC2, read by tools/refresh_gpu_prices.py\n"
        "group,type,dollars_per_hour\n"
    )
    in_order = sorted(found.dollars.items(), key=lambda item: (item[0][0], _size(item[0][1], found.vcpus)))
    return head + "".join(f"{group},{kind},{dollars:.10g}\n" for (group, kind), dollars in in_order)


def _size(kind: str, vcpus: Mapping[str, int]) -> tuple[str, int, str]:
    return kind.partition(".")[0], vcpus[kind], kind


def _notes(found: Found, before: str) -> Iterator[str]:
    old = {tuple(line.split(",")[:2]) for line in before.splitlines() if not line.startswith(("#", "group,"))}
    yield f"{len(found.dollars)} prices of {len({group for group, _ in found.dollars})} places; before {len(old)}"
    for key in sorted(old - found.dollars.keys()):
        yield f"gone: {' '.join(key)}"
    for group, kind in sorted(found.contradicted):
        yield f"left out, two prices: {group} {kind}"
    for location in sorted(found.nowhere):
        yield f"left out, not in geography/places.py or in two of its zone groups: {location}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
