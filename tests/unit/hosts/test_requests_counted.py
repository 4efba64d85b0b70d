"""What a host makes of its proxy's log: sums by key, whatever else stands in it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from components.remote.usage import summed

OTHERS = ['{"level":"info","msg":"serving initial configuration"}', "", "null", "[1]", '{"ts":"x","user_id":"a"}', "{"]
times = st.floats(1e9, 2e9)


def line(ts: float, name: str, size: int, duration: float) -> str:
    return json.dumps({"ts": ts, "user_id": name, "size": size, "duration": duration, "status": 200})


requests = st.lists(st.tuples(times, st.sampled_from(["mobile", "web", ""]), st.integers(0, 10**9), st.floats(0, 1e4)))


@given(requests, st.lists(st.sampled_from(OTHERS)), times, st.randoms())
def test_each_request_after_the_time_is_counted_once(
    made: list[tuple[float, str, int, float]], others: list[str], since: float, random: Any
) -> None:
    lines = [line(*each) for each in made] + others
    random.shuffle(lines)
    found = summed(lines, since)
    assert found["begins"] == min((each[0] for each in made), default=None)
    counted = [each for each in made if each[0] > since]
    assert found["keys"].keys() == {each[1] for each in counted}
    for name, key in found["keys"].items():
        own = [each for each in counted if each[1] == name]
        assert (key["requests"], key["bytes"]) == (len(own), sum(each[2] for each in own))
        assert abs(key["seconds"] - sum(each[3] for each in own)) < 0.001
        assert key["last"] == max(each[0] for each in own)
