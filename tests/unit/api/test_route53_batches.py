"""Whatever batches arrive: each is applied whole or not at all, and the zone obeys the rules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.core.exceptions import ServiceException

from localcloud.api import route53_records as rules
from localcloud.api.route53 import LocalRoute53Backend, records

POLICIES: list[dict[str, Any]] = [
    {},
    {"Weight": 1},
    {"Weight": 2},
    {"Region": "us-west-2"},
    {"Region": "us-east-1"},
    {"GeoProximityLocation": {"LocalZoneGroup": "us-west-2-lax-1"}},
]


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    policy = draw(st.sampled_from(POLICIES))
    record: dict[str, Any] = {
        "Name": draw(st.sampled_from(["a.zone.", "B.zone", "a.elsewhere."])),
        "Type": "A",
        "TTL": draw(st.sampled_from([30, 60])),
        "ResourceRecords": [{"Value": "192.0.2.1"}],
        **policy,
    }
    if policy:
        record["SetIdentifier"] = draw(st.sampled_from("01"))
    action = draw(st.sampled_from(["CREATE", "UPSERT", "DELETE"]))
    return {"Action": action, "ResourceRecordSet": record}


@given(st.lists(st.lists(changes(), min_size=1, max_size=3), max_size=6))
def test_a_zone_obeys_the_rules_after_any_batches(batches: list[list[dict[str, Any]]]) -> None:
    backend = LocalRoute53Backend("aws", "123456789012")
    zone = backend.create_hosted_zone("zone.", private_zone=False)
    for batch in batches:
        before = copy.deepcopy(records(zone))
        try:
            backend.change_resource_record_sets(zone.resource_id, batch)
        except ServiceException:
            assert records(zone) == before
        for record in records(zone):
            assert rules.conflicts(record, records(zone), zone.name) == []
        keys = [rules.key(record) for record in records(zone)]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_created_can_be_deleted_as_listed(count: int) -> None:
    backend = LocalRoute53Backend("aws", "123456789012")
    zone = backend.create_hosted_zone("zone.", private_zone=False)
    for identifier in range(count):
        record = {
            "Name": "a.zone",
            "Type": "A",
            "TTL": 60,
            "ResourceRecords": [{"Value": "192.0.2.1"}],
            "Weight": 1,
            "SetIdentifier": str(identifier),
        }
        change = {"Action": "CREATE", "ResourceRecordSet": record}
        backend.change_resource_record_sets(zone.resource_id, [change])
    listed = [record for record in records(zone) if record["Type"] == "A"]
    deletion = [{"Action": "DELETE", "ResourceRecordSet": record} for record in listed]
    backend.change_resource_record_sets(zone.resource_id, deletion)
    assert {record["Type"] for record in records(zone)} == {"NS", "SOA"}
