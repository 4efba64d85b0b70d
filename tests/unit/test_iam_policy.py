"""The policy for deployers: it fits into IAM, names actions that exist, and leaves no statement open to more than it must."""

import json
from typing import Any

import pytest
from botocore.session import get_session  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from automation.paths import PROJECT_ROOT

POLICY: dict[str, Any] = json.loads((PROJECT_ROOT / "docs" / "operations" / "iam-policy.json").read_text())
MODELS = {"servicequotas": "service-quotas"}
ANYWHERE = {"Look", "HealthChecks", "ZoneOfItsOwn"}
"""What AWS offers no resource and no condition for, or reads alone."""


def test_it_is_short_enough_for_a_managed_policy() -> None:
    """AWS counts no whitespace, and takes 6,144 characters."""
    assert len("".join(json.dumps(POLICY, separators=(",", ":")).split())) < 6144


@pytest.mark.parametrize("statement", POLICY["Statement"], ids=lambda each: each["Sid"])
def test_each_statement_names_actions_that_exist_and_is_narrowed(statement: dict[str, Any]) -> None:
    assert statement["Effect"] == "Allow"
    assert statement["Action"] == sorted(set(statement["Action"]))
    for action in statement["Action"]:
        service, _, name = action.partition(":")
        operations: list[str] = get_session().get_service_model(MODELS.get(service, service)).operation_names  # pyright: ignore
        assert name in operations, action
    is_narrowed = statement["Resource"] != "*" or "Condition" in statement
    assert is_narrowed != (statement["Sid"] in ANYWHERE)


def test_what_only_looks_changes_nothing() -> None:
    (look,) = (each for each in POLICY["Statement"] if each["Sid"] == "Look")
    assert all(action.partition(":")[2].startswith(("Describe", "Get", "List", "Test")) for action in look["Action"])


def test_records_of_each_type_are_changed_where_they_are_needed_alone() -> None:
    """A records by the program, TXT records by `edge certificate`, and by each in statements of their own: conditions add up."""
    key = "route53:ChangeResourceRecordSets"
    changing = {each["Sid"]: each for each in POLICY["Statement"] if key in each["Action"]}
    types = {sid: each["Condition"]["ForAllValues:StringEquals"][f"{key}RecordTypes"] for sid, each in changing.items()}
    assert types == {"Records": ["A"], "Challenges": ["TXT"]}
    names = changing["Challenges"]["Condition"]["ForAllValues:StringLike"][f"{key}NormalizedRecordNames"]
    assert names == ["_acme-challenge.*"]
