# pyright: reportPrivateUsage=false
"""The order of a rollout: its waves, and the dependencies that they are."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pulumi
import pytest
from component_helpers import checked_config
from hypothesis import given
from hypothesis import strategies as st
from recorded_program import Deployed, deploy

from components import build, rollout
from components.host_changes import planned_hosts
from components.listeners import Listener
from components.rollout import Before, last_to_go, planned_waves, waves
from components.stack_config import CheckedConfig

KEYS = ("us-west-2a-1", "us-west-2a-2", "us-west-2-lax-1a-1")
SITES = [{"zone": "us-west-2a", "replicas": 2}, {"zone": "us-west-2-lax-1a"}]


@given(st.lists(st.text("ab"), unique=True, max_size=30), st.integers(1, 12))
def test_waves_hold_each_replica_once_the_canary_alone_and_never_too_many(replicas: list[str], max_away: int) -> None:
    planned = waves(replicas, max_away)
    assert [each for wave in planned for each in wave] == replicas
    assert all(0 < len(wave) <= max_away for wave in planned)
    assert not replicas or len(planned[0]) == 1


def serving(config: CheckedConfig, keys: Sequence[str]) -> CheckedConfig:
    """The config of a stack in whose state these replicas serve, on hosts as the config wants them."""
    hosts = planned_hosts(config.settings)
    return replace(config, before=Before(frozenset(keys), hosts={key: hosts[key] for key in keys}))


@pytest.fixture
def all_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every last step fails, so that who waits for one is left out by its dependency on it."""

    async def went_well(commands: Sequence[pulumi.Resource]) -> bool:
        return not any(str(each._name).endswith("-ready") for each in commands)

    monkeypatch.setattr(rollout, "_went_well", went_well)


def waited_for(program: Deployed, key: str) -> set[str]:
    """The last steps of other replicas that a replica's last step is left out with."""
    step = program.one("Command", f"{key}-ready")
    return {each.removesuffix("-ready").removeprefix("Command ") for each in step.depends_on if each.endswith("-ready")}


NOBODY = frozenset[str]()


@pytest.mark.usefixtures("all_fail")
@pytest.mark.parametrize(
    ("served", "drained", "expected"),
    [
        ((), [], [NOBODY, NOBODY, NOBODY]),
        (KEYS, [], [NOBODY, {KEYS[0]}, {KEYS[0], KEYS[1]}]),
        (KEYS, ["us-west-2-lax-1a"], [{KEYS[2]}, {KEYS[2], KEYS[0]}, NOBODY]),
        (KEYS[1:], [], [NOBODY, NOBODY, {KEYS[1]}]),
    ],
    ids=["first deployment", "all served", "a drained site first", "a new replica queues for nobody"],
)
def test_who_served_before_waits_for_the_waves_before(
    served: tuple[str, ...], drained: list[str], expected: list[set[str]]
) -> None:
    config = serving(checked_config(sites=SITES, drained=drained), served)
    program = deploy(config)
    assert [waited_for(program, key) for key in KEYS] == expected


def test_the_last_step_waits_for_its_own_replicas_steps_too() -> None:
    program = deploy(serving(checked_config(sites=SITES), KEYS))
    for key in KEYS:
        assert f"Command {key}-proxy" in program.one("Command", f"{key}-ready").depends_on


def test_those_that_are_dead_go_first_and_together() -> None:
    assert planned_waves(["a", "b", "c", "d"], 1, {"c", "b"}) == [["b", "c"], ["a"], ["d"]]
    assert planned_waves(["a", "b"], 1) == [["a"], ["b"]]


def test_where_all_goes_well_no_order_stays_in_the_state() -> None:
    """Else a run of chosen resources would find its own order against the state's, and fail."""
    program = deploy(serving(checked_config(sites=SITES), KEYS))
    assert [waited_for(program, key) for key in KEYS] == [set(), set(), set()]
    order = [each.name.removesuffix("-ready") for each in program.resources if each.name.endswith("-ready")]
    assert order == list(KEYS), "they were registered in turn all the same"


@pytest.mark.usefixtures("all_fail")
def test_two_may_be_away_at_once_after_the_canary() -> None:
    config = serving(checked_config(sites=SITES, rollout={"maxAway": 2}), KEYS)
    assert [waited_for(deploy(config), key) for key in KEYS] == [set(), {KEYS[0]}, {KEYS[0]}]


def test_hosts_and_other_steps_never_wait_for_another_replica() -> None:
    program = deploy(serving(checked_config(sites=SITES), KEYS))
    for resource in program.resources:
        key = next((key for key in KEYS if resource.name.startswith(f"{key}-")), None)
        if key and not resource.name.endswith("-ready"):
            others = [each for each in resource.depends_on for other in KEYS if other != key and f" {other}-" in each]
            assert not others, resource.label


def refusal(monkeypatch: pytest.MonkeyPatch, key: str, dead: set[str]) -> str | None:
    """Why a replica's last step is not begun while others are dead."""
    asked: dict[str, Listener] = {key: Listener("127.0.0.1", 1, "/health") for key in KEYS}

    def silent(listeners: Mapping[str, Listener]) -> frozenset[str]:
        return frozenset(dead & listeners.keys())

    def hook(name: str, call: Callable[..., object]) -> object:
        del name
        return call

    monkeypatch.setattr(rollout, "silent", silent)
    monkeypatch.setattr(rollout, "SECOND_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "prod")
    monkeypatch.setattr(pulumi, "ResourceHook", hook)
    made = rollout.Rollout(KEYS, 2, listeners=asked)
    try:
        asyncio.run(made._refuse(pulumi.ResourceHookArgs("urn", "id", f"{key}-ready", "type")))
    except RuntimeError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("key", "dead", "refused"),
    [
        (KEYS[0], set[str](), False),
        (KEYS[0], {KEYS[1]}, True),
        (KEYS[1], {KEYS[0]}, True),
        # Those of its own wave are away, and it may be dead itself.
        (KEYS[1], {KEYS[2]}, False),
        (KEYS[0], {KEYS[0]}, False),
        (KEYS[0], {KEYS[0], KEYS[1]}, False),
    ],
)
def test_no_server_goes_while_a_replica_outside_its_wave_is_dead(
    key: str, dead: set[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = refusal(monkeypatch, key, dead)
    assert (told is not None) is refused
    if told:
        assert f"{key} keeps its server for now: {', '.join(dead)} does not answer" in told
        assert "-> edge up prod" in told


@pytest.mark.usefixtures("all_fail")
def test_a_host_that_goes_in_this_run_waits_for_nobody() -> None:
    """It has no server to take away; the others wait for each other as ever."""
    config = serving(checked_config(sites=SITES), KEYS)
    other = {KEYS[0]: replace(config.before.hosts[KEYS[0]], public_key="another")}
    program = deploy(replace(config, before=replace(config.before, hosts={**config.before.hosts, **other})))
    assert [waited_for(program, key) for key in KEYS] == [set(), set(), {KEYS[1]}]


@pytest.mark.usefixtures("all_fail")
def test_a_dead_site_that_is_drained_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "silent", lambda _: frozenset({KEYS[2]}))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(build, "SECOND_LOOK_SECONDS", 0.0)
    config = serving(checked_config(sites=SITES, drained=["us-west-2-lax-1a"]), KEYS)
    program = deploy(config)
    assert [waited_for(program, key) for key in KEYS] == [set(), {KEYS[0]}, set()]


# Alone


ALONE, LEAVING = "us-west-2a-1", "us-west-2-lax-1a-1"


def last_text(config: CheckedConfig, served: Sequence[str], texts: Mapping[str, str]) -> str:
    """The last step's text of the only site that a config has, in whose state these replicas serve with these texts."""
    before = Before(frozenset(served), hosts=planned_hosts(config.settings), texts=texts)
    return str(deploy(replace(config, before=before)).one("Command", f"{ALONE}-ready").inputs["create"])


def test_while_another_is_there_that_goes_in_this_run_nobody_is_alone() -> None:
    """Else it would change at once, and users would have nowhere to go; that it is alone afterwards is no reason to touch it."""
    one = checked_config(sites=[{"zone": "us-west-2a"}])
    alone, protected = last_text(one, [ALONE], {}), last_text(one, [ALONE, LEAVING], {})
    assert ('"is_alone":true' in alone, '"is_alone":false' in protected) == (True, True)
    assert last_text(one, [ALONE], {ALONE: protected}) == protected
    other = checked_config(sites=[{"zone": "us-west-2a"}], server={"model": "Qwen/Qwen2.5-3B-Instruct"})
    assert '"is_alone":true' in last_text(other, [ALONE], {ALONE: protected})
    assert '"is_alone":false' in last_text(other, [ALONE, LEAVING], {ALONE: alone})


@pytest.mark.parametrize(
    ("served", "last"),
    [
        ([ALONE, LEAVING], [LEAVING]),
        ([LEAVING], [LEAVING]),
        ([ALONE, "us-west-2a-2", LEAVING], []),
        ([ALONE, "us-west-2a-2"], []),
    ],
    ids=["only one stays", "none that served stays", "two stay", "nothing is removed"],
)
def test_what_is_removed_goes_last_where_fewer_than_two_stay(served: list[str], last: list[str]) -> None:
    config = checked_config(sites=[{"zone": "us-west-2a", "replicas": 2}])
    assert last_to_go(served, config.settings) == last
