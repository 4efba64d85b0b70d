"""Changing a stack file's text: nothing but the value is another one, and every comment stays where it was."""

import copy
from contextlib import suppress
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from automation.engine.stack_edit import EditError, flow, value_at, with_value, without
from automation.engine.stack_yaml import plain_values
from automation.paths import PROJECT_ROOT

SITES = "edge-inference:sites"


def read(text: str) -> Any:
    found, problems = plain_values(text)
    assert not problems
    return found


def test_values_are_set_and_comments_and_order_stay() -> None:
    before = (PROJECT_ROOT / "Pulumi.prod.yaml").read_text()
    after = before
    for keys, value in (
        ((SITES, 1, "replicas"), 2),
        (("edge-inference:protect",), False),
        (("edge-inference:access", "clientCidrs", 0), "8.8.8.8/32"),
        (("edge-inference:tags", "since"), "2024-01-01"),
        (("edge-inference:tags", "owner"), "NO"),
    ):
        after = with_value(after, keys, value)
    assert [line for line in before.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]
    config = read(after)["config"]
    assert config[SITES][1] == {"zone": "us-west-2-lax-1a", "replicas": 2}
    assert config["edge-inference:protect"] is False
    assert config["edge-inference:access"] == {"clientCidrs": ["8.8.8.8/32"]}
    assert config["edge-inference:tags"] == {"since": "2024-01-01", "owner": "NO"}
    assert list(config)[:3] == ["aws:region", SITES, "edge-inference:protect"]


TEXT = """\
# head
config:
  aws:region: us-west-2 # where
  sites: # the places
    # the first
    - zone: us-west-2a # Oregon
      replicas: 2

    # the second
    - {zone: us-west-2-lax-1a, replicas: 1} # Los Angeles
  # about access
  edge-inference:access:
    clientCidrs: [8.8.8.8/32, 9.9.9.9/32] # callers
    sshCidrs:
      - 8.8.8.8/32
  edge-inference:empty:
# tail
"""


@pytest.mark.parametrize(
    ("keys", "value", "old", "new"),
    [
        (("aws:region",), "us-east-1", "us-west-2 # where", "us-east-1 # where"),
        ((SITES, 0, "replicas"), 3, "replicas: 2", "replicas: 3"),
        ((SITES, 0, "optIn"), True, "replicas: 2\n", "replicas: 2\n      optIn: true\n"),
        ((SITES, 1, "replicas"), 4, "replicas: 1}", "replicas: 4}"),
        ((SITES, 1, "optIn"), "anyway", "replicas: 1}", "replicas: 1, optIn: anyway}"),
        ((SITES, 2, "zone"), "us-west-2b", "# Los Angeles\n", "# Los Angeles\n    - zone: us-west-2b\n"),
        ((SITES, 2), {"zone": "x", "replicas": 1}, "# Los Angeles\n", "# Los Angeles\n    - zone: x\n      replicas: 1\n"),
        (("edge-inference:access", "clientCidrs", 2), "1.1.1.1/32", "9.9.9.9/32]", "9.9.9.9/32, 1.1.1.1/32]"),
        (("edge-inference:access", "sshCidrs", 1), "1.1.1.1/32", "- 8.8.8.8/32", "- 8.8.8.8/32\n      - 1.1.1.1/32"),
        (("edge-inference:empty",), {"a": [1]}, "empty:", "empty:\n    a: [1]"),
        (("edge-inference:empty", "a"), "b", "empty:", "empty:\n    a: b"),
        (("edge-inference:new",), "22:22", "empty:\n", "empty:\n  edge-inference:new: 22:22\n"),
        (("edge-inference:new",), "yes", "empty:\n", 'empty:\n  edge-inference:new: "yes"\n'),
    ],
)  # fmt: skip
def test_nothing_else_is_touched(keys: tuple[str | int, ...], value: object, old: str, new: str) -> None:
    assert with_value(TEXT, keys, value) == TEXT.replace(old, new)


@pytest.mark.parametrize(
    ("keys", "old", "new"),
    [
        (("aws:region",), "  aws:region: us-west-2 # where\n", ""),
        ((SITES, 0, "replicas"), "      replicas: 2\n", ""),
        ((SITES, 0, "zone"), "zone: us-west-2a # Oregon\n      replicas: 2", "replicas: 2"),
        ((SITES, 0), "    - zone: us-west-2a # Oregon\n      replicas: 2\n", ""),
        ((SITES, 1, "zone"), "zone: us-west-2-lax-1a, ", ""),
        ((SITES, 1, "replicas"), ", replicas: 1", ""),
        (("edge-inference:access", "clientCidrs", 1), ", 9.9.9.9/32", ""),
        (("edge-inference:access", "sshCidrs", 0), "    sshCidrs:\n      - 8.8.8.8/32\n", ""),
        (("edge-inference:empty",), "  edge-inference:empty:\n", ""),
    ],
)
def test_what_is_taken_away_goes_alone(keys: tuple[str | int, ...], old: str, new: str) -> None:
    assert without(TEXT, keys) == TEXT.replace(old, new)


@pytest.mark.parametrize("text", ["", "# a comment\n", "config:\n", "config: {}\n", "encryptionsalt: v1:x\n"])
def test_a_file_without_config_gets_one(text: str) -> None:
    after = with_value(text, ("edge-inference:access", "sshCidrs", 0), "8.8.8.8/32")
    assert read(after)["config"] == {"edge-inference:access": {"sshCidrs": ["8.8.8.8/32"]}}
    assert all(line in after for line in text.splitlines() if not line.startswith("config"))
    assert not read(without(after, ("edge-inference:access", "sshCidrs", 0)))["config"]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ((SITES, 4), "has 2 entries, so that the next one is \\[2\\]"),
        ((SITES, 0, "zone", "deep"), "is a plain value"),
        (("edge-inference:new", 1), "is empty"),
        (("edge-inference:access", 0), "is no list"),
    ],
)
def test_what_has_no_place_is_refused(keys: tuple[str | int, ...], told: str) -> None:
    with pytest.raises(EditError, match=told):
        with_value(TEXT, keys, 1)


def test_what_an_anchor_shares_is_refused() -> None:
    text = "config:\n  a:b: &x [1]\n  c:d: *x\n"
    for change in (lambda: with_value(text, ("c:d", 0), 2), lambda: with_value(text, ("a:b", 0), 2)):
        with pytest.raises(EditError, match="by an anchor"):
            change()


NAMES = st.text("abcdefghij-_.: é#", min_size=1, max_size=6)
SCALARS = st.one_of(st.integers(-5, 99), st.booleans(), st.text(max_size=8), st.sampled_from(["NO", "010", "1e4", "22:22", "~"]))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3)
)
CONFIGS = st.dictionaries(st.sampled_from(["a:b", "edge-inference:c", "d:e"]), VALUES, min_size=1)


def paths(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a value."""
    entries: Any = ()
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(cast("list[Any]", value))  # pyright: ignore[reportUnknownVariableType]
    return [path for key, each in entries for path in [(*above, key), *paths(each, (*above, key))]]


@given(CONFIGS, st.booleans(), st.data())
@settings(max_examples=200, deadline=None)
def test_any_place_of_any_config_can_be_changed(config: dict[str, Any], is_block: bool, data: st.DataObject) -> None:
    text = yaml.safe_dump({"config": config}, default_flow_style=None if not is_block else False, allow_unicode=True, width=10**6)
    text = "".join(f"{line}\n" for line in text.splitlines())
    try:
        found, problems = plain_values(text)
    except Exception:
        return
    if problems or found != {"config": config}:
        return
    keys = data.draw(st.sampled_from(paths(config)))
    value = data.draw(VALUES)
    after = copy.deepcopy(config)
    place: Any = value_at(after, keys[:-1])
    place[keys[-1]] = value
    assert read(with_value(text, keys, value)) == {"config": after}
    with suppress(EditError):  # all that stands in a list's entry
        without(text, keys)


@given(VALUES)
def test_flow_is_read_as_it_was(value: object) -> None:
    assert read(f"x: {flow(value)}") == {"x": value}
