# ruff: noqa: ARG002 - a resource type takes what the protocol gives
"""The protocol, with a resource type that exists only here: the shape of a VPC, kept in a dictionary."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import ClassVar

import pytest
from pulumi.runtime.proto import provider_pb2, status_pb2

from localcloud.plugins.base import Call, Plugin, ProviderError, Resource, changes
from localcloud.plugins.schema import Problem
from localcloud.plugins.values import UNKNOWN, Properties, Secret, decode, has_secret, reveal_all
from tests.unit.plugins.driver import AbortedError, Driver

VPC = "aws:ec2/vpc:Vpc"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
PLANTED = "planted-secret-text"


class Shelf(Resource):
    """Keeps objects in memory."""

    replace_on: ClassVar[frozenset[str]] = frozenset({"cidrBlock", "tags.fixed"})
    defaults: ClassVar[Mapping[str, object]] = {"instanceTenancy": "default"}
    supported = frozenset({"cidrBlock", "tags", "instanceTenancy", "ipv6CidrBlock"})

    def __init__(self) -> None:
        self.objects: dict[str, Properties] = {}
        self.fails = ""
        self.shrinks = False

    def problems(self, inputs: Properties) -> Iterable[Problem]:
        if inputs.get("cidrBlock") == "bad":
            yield Problem("cidrBlock", "is bad")

    def create(self, call: Call, inputs: Properties) -> str:
        if self.fails == "create":
            message = "no room"
            raise ProviderError(message)
        resource_id = f"id-{len(self.objects)}"
        self.objects[resource_id] = inputs | {"tags": {}} if self.shrinks else inputs
        call.outputs["ownerId"] = "me"
        return resource_id

    def settle(self, call: Call, resource_id: str, inputs: Properties) -> None:
        call.status(f"made {resource_id}")
        if self.fails == "settle":
            raise RuntimeError(self.fails)

    def read(self, call: Call, resource_id: str, known: Properties) -> Properties | None:
        found = self.objects.get(resource_id)
        return found and {**known, **found, "arn": f"arn of {found.get('tags')}"}

    def update(self, call: Call, resource_id: str, olds: Properties, news: Properties, state: Properties) -> None:
        self.objects[resource_id] = news

    def uncertain(self, changed: set[str]) -> Iterable[str]:
        return ("arn",) if "tags" in changed else ()

    def delete(self, call: Call, resource_id: str, state: Properties) -> None:
        self.objects.pop(resource_id, None)


class Named(Shelf):
    """Has a name of its own."""

    autoname = "name"
    supported = None
    replace_on = frozenset({"name"})
    unordered = frozenset({"ingress"})


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def driver(shelf: Shelf) -> Driver:
    def zone(arguments: Properties) -> Properties:
        if arguments.get("name") == "nowhere":
            message = "no such zone"
            raise ProviderError(message)
        return {"zoneId": "z", "echo": arguments.get("name")}

    functions = {"aws:index/getAvailabilityZone:getAvailabilityZone": zone}
    return Driver(Plugin("1.0", {VPC: shelf, GROUP: Named()}, functions, "127.0.0.1:1"))


def test_check_returns_inputs_as_they_came_with_defaults(driver: Driver) -> None:
    inputs, problems = driver.check(VPC, {"cidrBlock": Secret(UNKNOWN), "tags": {"a": Secret("b")}})
    assert not problems
    assert inputs == {
        "cidrBlock": Secret(UNKNOWN),
        "tags": {"a": Secret("b")},
        "instanceTenancy": "default",
        "__defaults": ["instanceTenancy"],
    }


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"cidrBlok": "x"}, "cidrBlok is not a property here; did you mean cidrBlock?"),
        ({"cidrBlock": Secret(3)}, "cidrBlock must be a string, not a whole number"),
        ({"arn": "x"}, "arn is an output of the resource and cannot be set"),
        ({"cidrBlock": "bad"}, "cidrBlock is bad"),
        (
            {"ipv4NetmaskLength": 3},
            f"ipv4NetmaskLength is not simulated by the local cloud's {VPC}; only a real account takes it",
        ),
    ],
)
def test_check_refuses(driver: Driver, inputs: Properties, expected: str) -> None:
    assert driver.check(VPC, inputs)[1] == [expected]


def test_a_type_that_is_not_simulated_is_one_clear_error(driver: Driver) -> None:
    with pytest.raises(AbortedError, match=r"^the local cloud has no aws:sqs/queue:Queue$"):
        driver.check("aws:sqs/queue:Queue", {})


def test_an_automatic_name_is_kept(driver: Driver) -> None:
    first, _ = driver.check(GROUP, {})
    assert str(first["name"]).startswith("x-")
    assert len(str(first["name"])) == len("x-") + 7
    driver.plugin.resources[GROUP].objects.clear()  # type: ignore[attr-defined]
    again, _ = driver.check(GROUP, {}, {**first, "name": "x-kept000"})
    assert again["name"] == "x-kept000"
    chosen, _ = driver.check(GROUP, {"name": "mine"}, first)
    assert chosen["name"] == "mine"
    back, _ = driver.check(GROUP, {}, {"name": "mine"})
    assert back["name"] != "mine"


def test_a_chosen_name_is_freed_before_it_is_used_again(driver: Driver) -> None:
    assert driver.diff(GROUP, {"name": "a"}, {"name": "b"}).deleteBeforeReplace
    assert not driver.diff(GROUP, {"name": "a"}, {"name": "b", "__defaults": ["name"]}).deleteBeforeReplace


KIND = provider_pb2.PropertyDiff
REPLACING = {KIND.ADD_REPLACE, KIND.UPDATE_REPLACE, KIND.DELETE_REPLACE}


@pytest.mark.parametrize(
    ("olds", "news", "expected"),
    [
        ({"cidrBlock": "a"}, {"cidrBlock": "b"}, {"cidrBlock": KIND.UPDATE_REPLACE}),
        ({"cidrBlock": "a"}, {"cidrBlock": Secret(UNKNOWN)}, {"cidrBlock": KIND.UPDATE_REPLACE}),
        ({}, {"cidrBlock": "b"}, {"cidrBlock": KIND.ADD_REPLACE}),
        ({"tags": {"a": "1", "b": "1"}}, {"tags": {"a": "2"}}, {"tags.a": KIND.UPDATE, "tags.b": KIND.DELETE}),
        ({"tags": {}}, {"tags": {"a.b": "2"}}, {'tags["a.b"]': KIND.ADD}),
        ({"tags": {"fixed": "1"}}, {"tags": {"fixed": "2"}}, {"tags.fixed": KIND.UPDATE_REPLACE}),
    ],
)
def test_diff_says_what_changes_and_what_replaces(
    driver: Driver, olds: Properties, news: Properties, expected: dict[str, int]
) -> None:
    response = driver.diff(VPC, olds, news)
    assert {path: entry.kind for path, entry in response.detailedDiff.items()} == expected
    assert response.changes == provider_pb2.DiffResponse.DIFF_SOME
    assert bool(response.replaces) == any(kind in REPLACING for kind in expected.values())


@pytest.mark.parametrize(
    ("olds", "news"),
    [
        ({"cidrBlock": "a"}, {"cidrBlock": Secret("a"), "__defaults": ["x"]}),
        ({"ingress": ["a", "b"]}, {"ingress": ["b", "a"]}),
    ],
)
def test_what_means_the_same_is_no_change(driver: Driver, olds: Properties, news: Properties) -> None:
    response = driver.diff(GROUP, olds, news)
    assert response.changes == provider_pb2.DiffResponse.DIFF_NONE
    assert not response.detailedDiff


def test_list_changes_name_the_item() -> None:
    assert list(changes({"a": [1, 2]}, {"a": [1, 3, 4]})) == [("a[1]", "UPDATE"), ("a[2]", "ADD")]


def test_in_preview_of_a_create_what_aws_decides_is_unknown(driver: Driver, shelf: Shelf) -> None:
    resource_id, state = driver.create(VPC, {"cidrBlock": Secret("a"), "__defaults": []}, preview=True)
    assert not resource_id
    assert not shelf.objects
    assert state["cidrBlock"] == Secret("a")
    assert state["arn"] == state["enableDnsSupport"] == UNKNOWN
    assert "__defaults" not in state


def test_create_keeps_secrets_under_every_name(driver: Driver) -> None:
    _, _, state = driver.made(VPC, {"cidrBlock": "c", "tags": {"a": Secret(PLANTED)}})
    assert state["cidrBlock"] == "c"
    assert state["ownerId"] == "me"
    assert has_secret(state["tags"])
    assert isinstance(state["arn"], Secret), "it contains the tag's text"
    assert driver.engine.texts == ["made id-0"]
    assert driver.engine.lines[0].ephemeral


def test_a_failed_create_is_one_line(driver: Driver, shelf: Shelf) -> None:
    shelf.fails = "create"
    with pytest.raises(AbortedError, match=r"^no room$"):
        driver.create(VPC, {})


def test_an_object_that_was_made_is_not_forgotten_when_the_rest_fails(driver: Driver, shelf: Shelf) -> None:
    shelf.fails = "settle"
    shelf.shrinks = True
    inputs: Properties = {"cidrBlock": "c", "tags": {"a": Secret(PLANTED), "b": "b"}}
    with pytest.raises(AbortedError, match=r"^RuntimeError: settle$"):
        driver.create(VPC, inputs)
    ((_, serialized),) = driver.context.metadata
    (detail,) = status_pb2.Status.FromString(serialized).details
    half_made = provider_pb2.ErrorResourceInitFailed()
    assert detail.Unpack(half_made)
    assert half_made.id == "id-0"
    assert half_made.reasons == ["RuntimeError: settle"]
    assert decode(half_made.inputs) == {"cidrBlock": "c", "tags": Secret({})}
    assert PLANTED not in str(decode(half_made.properties))
    assert driver.diff(VPC, decode(half_made.inputs), inputs).detailedDiff.keys() == {"tags.a", "tags.b"}


def test_a_create_whose_object_is_gone_again_just_fails(driver: Driver, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.fails = "settle"
    monkeypatch.setattr(shelf, "read", lambda *_: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    with pytest.raises(AbortedError):
        driver.create(VPC, {"cidrBlock": "c"})
    assert not driver.context.metadata


def test_read_finds_drift_and_what_is_gone(driver: Driver, shelf: Shelf) -> None:
    resource_id, inputs, state = driver.made(VPC, {"cidrBlock": "c", "tags": {"a": Secret("b")}})
    assert driver.read(VPC, resource_id, state, inputs) == (resource_id, state, inputs)
    shelf.objects[resource_id] = {"cidrBlock": "c", "tags": {"a": "drifted"}}
    _, drifted, found = driver.read(VPC, resource_id, state, inputs)
    assert found["tags"] == Secret({"a": "drifted"})
    assert isinstance(drifted["tags"], Secret)
    shelf.objects[resource_id] = {"cidrBlock": "c", "tags": {}}
    assert driver.read(VPC, resource_id, {}, {"tags": {"a": "b"}})[2]["tags"] == {}
    shelf.objects.clear()
    assert driver.read(VPC, resource_id, state, inputs) == ("", {}, {})


def test_an_import_takes_what_can_be_set(driver: Driver, shelf: Shelf) -> None:
    shelf.objects["id-9"] = {"cidrBlock": "c", "arn": "x", "tags": {}}
    assert driver.read(VPC, "id-9", {}, {})[2] == {"cidrBlock": "c"}


def test_update_and_its_preview(driver: Driver, shelf: Shelf) -> None:
    resource_id, inputs, state = driver.made(VPC, {"cidrBlock": "c", "tags": {"a": "b"}})
    news: Properties = {"cidrBlock": "c", "tags": {"a": Secret("b2")}}
    preview = driver.update(VPC, resource_id, state, inputs, news, preview=True)
    assert preview["arn"] == UNKNOWN
    assert preview["ownerId"] == "me"
    assert preview["tags"] == news["tags"]
    assert shelf.objects[resource_id]["tags"] == {"a": "b"}
    updated = driver.update(VPC, resource_id, state, inputs, news)
    assert shelf.objects[resource_id] == reveal_all(news)
    assert isinstance(updated["tags"], Secret)
    assert "instanceTenancy" not in updated, "an input that was taken away is no output either"


def test_delete(driver: Driver, shelf: Shelf) -> None:
    resource_id, _, state = driver.made(VPC, {"cidrBlock": "c"})
    driver.delete(VPC, resource_id, state)
    assert not shelf.objects


def test_functions(driver: Driver) -> None:
    token = "aws:index/getAvailabilityZone:getAvailabilityZone"  # noqa: S105
    found, problems = driver.invoke(token, {"name": Secret(PLANTED)})
    assert not problems
    assert found == {"zoneId": "z", "echo": Secret(PLANTED)}
    assert driver.invoke(token, {"nam": "x"}) == ({}, ["nam is not a property here; did you mean name?"])
    assert driver.invoke(token, {"name": "nowhere"}) == ({}, ["no such zone"])


def test_waiting_ends_when_the_update_is_cancelled(driver: Driver) -> None:
    call = Call("urn", driver.engine.lines.append, driver.plugin.cancelled)
    driver.plugin.Cancel(None, driver.grpc)  # type: ignore[arg-type]
    with pytest.raises(ProviderError, match=r"cancelled"):
        call.sleep(600)


@pytest.mark.parametrize("module", ["aws", "command"])
def test_a_plugin_ends_when_the_engine_dies(module: str) -> None:
    """A stand-in for the engine starts the plugin, says which port it serves, and is killed."""
    alive, held = os.pipe()  # the plugin inherits one end: the other sees when it is gone
    start = (
        "import subprocess, sys, time\n"
        f"plugin = subprocess.Popen([sys.executable, '-m', 'localcloud.plugins.{module}', '127.0.0.1:1'], "
        f"stdout=subprocess.PIPE, pass_fds=[{held}])\n"
        "print(int(plugin.stdout.readline()), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, pass_fds=[held]) as engine:
        os.close(held)
        assert engine.stdout is not None
        assert int(engine.stdout.readline()) > 0
        engine.kill()
    assert os.read(alive, 1) == b""
    os.close(alive)


def test_started_by_hand_it_says_what_it_is() -> None:
    ran = subprocess.run([sys.executable, "-m", "localcloud.plugins.command"], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "This is a Pulumi provider plugin: it is started by the Pulumi engine, not by hand.\n"
