"""`edge usage`: what the hosts told, summed by key; who did not tell is named."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automation.commands.usage import in_bytes, time_of, usage_lines
from automation.errors import UsageError
from automation.sites.usage import KeyUsage, ReplicaUsage, Usage, parsed
from components.remote.usage import summed

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
counts = st.builds(KeyUsage, st.integers(0, 10**6), st.integers(0, 10**12), st.floats(0, 1e6), st.none() | st.just(NOW))
told = st.dictionaries(
    st.sampled_from(["us-west-2a-1", "us-west-2-lax-1a-1"]), st.dictionaries(st.sampled_from(["mobile", "web", ""]), counts)
)


def usage(replicas: dict[str, dict[str, KeyUsage]], *, silent: tuple[str, ...] = (), begins: datetime | None = NOW) -> Usage:
    found = {key: ReplicaUsage(begins, keys) for key, keys in replicas.items()}
    return Usage("prod", None, ("mobile", "unused"), found, silent, simulated=False)


@given(told)
def test_nothing_is_lost_or_counted_twice(replicas: dict[str, dict[str, KeyUsage]]) -> None:
    found = usage(replicas)
    parts = [each for keys in replicas.values() for each in keys.values()]
    assert sum(each.requests for each in found.keys.values()) == sum(each.requests for each in parts)
    assert sum(each.bytes for each in found.keys.values()) == sum(each.bytes for each in parts)
    assert [*found.keys][:2] == ["mobile", "unused"], "the valid keys, used or not"
    json.dumps(found.described())


@given(st.text() | st.just('{"begins": null, "keys": {"a": {}}}'))
def test_what_is_no_answer_is_none(said: str) -> None:
    assert parsed(said) is None or parsed(said) == ReplicaUsage(None, {})


def test_a_host_is_understood() -> None:
    line = json.dumps({"ts": NOW.timestamp(), "user_id": "mobile", "size": 10, "duration": 0.5, "status": 200})
    found = parsed(json.dumps(summed([line, line], 0.0)))
    assert found == ReplicaUsage(NOW, {"mobile": KeyUsage(2, 20, 1.0, NOW)})
    assert parsed(json.dumps(summed([line], NOW.timestamp()))) == ReplicaUsage(NOW, {}), "not after that time"


def test_a_table_says_from_when_on_it_is_whole() -> None:
    used = KeyUsage(18211, 64_173_000, 40213.9, NOW)
    lines = list(usage_lines(usage({"us-west-2a-1": {"mobile": used, "": KeyUsage(1, 1, 0.1, NOW)}})))
    assert lines[0].split() == ["key", "requests", "sent", "seconds", "last"]
    assert lines[1].split()[:5] == ["mobile", "18211", "61.2", "MiB", "40213.9"]
    assert lines[2].split() == ["unused", "0", "0", "B", "0.0", "never"]
    assert lines[3].startswith("(no key)")
    assert "the logs are whole from" in lines[-1]
    assert all(len(line) <= 80 for line in lines)
    assert "the logs are empty" in list(usage_lines(usage({"a-1": {}}, begins=None)))[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30m", NOW - timedelta(minutes=30)), ("24h", NOW - timedelta(hours=24)), ("7d", NOW - timedelta(days=7))],
)
def test_since_is_a_length_of_time(text: str, expected: datetime) -> None:
    assert time_of(text, NOW) == expected
    assert time_of("2026-11-30T08:00:00+00:00", NOW) == datetime(2026, 11, 30, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "24", "h", "9999999d", "-1h", "99999-01-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        time_of(text, NOW)


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5120.0 GiB")])
def test_sizes_are_read_by_people(count: int, words: str) -> None:
    assert in_bytes(count) == words


def described(found: Usage) -> Any:
    return found.described()


def test_json_has_each_replica_and_who_was_silent() -> None:
    found = described(usage({"us-west-2a-1": {"mobile": KeyUsage(1, 2, 3.0, NOW)}}, silent=("us-west-2-lax-1a-1",)))
    assert found["silent"] == ["us-west-2-lax-1a-1"]
    assert found["replicas"]["us-west-2a-1"]["keys"]["mobile"] == {
        "requests": 1, "bytes": 2, "seconds": 3.0, "last": "2026-11-30T12:00:00+00:00",
    }  # fmt: skip
