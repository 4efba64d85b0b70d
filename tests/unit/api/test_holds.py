"""One call is held where it was asked for, and only that one."""

import threading

import pytest

from localcloud.api import holds
from localcloud.api.holds import At


def call(at: list[str]) -> bool:
    """An AWS call, as the server makes it; notes how far it came."""
    hold = holds.taken()
    if hold and not hold.passes("arrival"):
        return False
    at.append("done")
    if hold:
        hold.passes("answer")
    at.append("answered")
    return True


@pytest.fixture(autouse=True)
def without_holds() -> None:
    holds.control("DELETE", {})


@pytest.mark.parametrize(("at", "noted"), [("arrival", []), ("answer", ["done"])])
def test_the_nth_call_waits_until_it_is_let_go(at: At, noted: list[str]) -> None:
    holds.control("PUT", {"call": 2, "at": at})
    seen: list[str] = []
    assert call([])
    thread = threading.Thread(target=call, args=[seen])
    thread.start()
    assert holds.control("GET", {}) == {"calls": 2, "reached": True}
    assert seen == noted
    assert call([])
    assert holds.control("DELETE", {}) == {"calls": 3, "reached": True}
    thread.join()
    assert seen == ["done", "answered"]
    assert call([])


def test_a_call_whose_caller_was_killed_never_came() -> None:
    holds.control("PUT", {"call": 1, "at": "arrival"})
    came: list[bool] = []
    thread = threading.Thread(target=lambda: came.append(call([])))
    thread.start()
    holds.control("GET", {})
    holds.control("DELETE", {"drop": True})
    thread.join()
    assert came == [False]


@pytest.mark.parametrize("body", [{}, {"call": 0, "at": "answer"}, {"call": 1, "at": "end"}, {"call": "1", "at": "answer"}])
def test_what_is_no_hold_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="call"):
        holds.control("PUT", body)
