import math

from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from localcloud.plugins.values import SIGNATURE, UNKNOWN, Secret, decode, encode, has_secret, overlay, reveal, seal

PLANTED = "planted-secret-text"

leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.just(UNKNOWN)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3) | inner.map(Secret),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_what_is_encoded_decodes_to_the_same(properties: dict[str, object]) -> None:
    assert decode(encode(properties)) == properties


@given(st.dictionaries(st.text(max_size=8), values, max_size=4))
def test_revealed_values_have_no_secret_left(properties: dict[str, object]) -> None:
    assert not has_secret(reveal(properties))


def test_whole_numbers_come_as_int_and_others_as_float() -> None:
    struct = struct_pb2.Struct()
    struct.update({"port": 22, "ratio": 0.5})
    port, ratio = decode(struct)["port"], decode(struct)["ratio"]
    assert type(port) is int
    assert isinstance(ratio, float)
    assert math.isclose(ratio, 0.5)


def test_a_secret_of_which_only_the_mark_came_is_unknown() -> None:
    bare = struct_pb2.Struct()
    bare.update({"stdin": {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270"}})
    assert decode(bare) == {"stdin": Secret(UNKNOWN)}


def test_a_secret_does_not_show_in_its_representation() -> None:
    assert PLANTED not in repr({"a": [Secret(PLANTED)]})


@given(values.filter(has_secret))
def test_an_output_of_the_name_of_a_secret_input_is_secret(value: object) -> None:
    sealed = seal({"a": reveal(value), "b": 1}, {"a": value})
    assert isinstance(sealed["a"], Secret)
    assert sealed["b"] == 1


def test_the_text_of_a_secret_is_found_under_other_names_and_inside_other_text() -> None:
    given_inputs: dict[str, object] = {"stdin": {"deep": [Secret(PLANTED)]}}
    sealed = seal({"stdout": f"echo {PLANTED}!", "nested": {"list": [PLANTED]}, "plain": "x"}, given_inputs)
    assert isinstance(sealed["stdout"], Secret)
    assert isinstance(sealed["nested"], Secret)
    assert sealed["plain"] == "x"


def test_short_parts_of_a_secret_connection_may_be_shown() -> None:
    assert seal({"stdout": "ec2-user"}, {"connection": Secret({"user": "ec2-user"})}) == {"stdout": "ec2-user"}


def test_all_tags_are_as_secret_as_tags() -> None:
    assert isinstance(seal({"tagsAll": {"a": "b"}}, {"tags": {"a": Secret("b")}})["tagsAll"], Secret)


def test_drift_shows_only_in_what_was_given() -> None:
    given_input = {"size": 100, "nested": {"a": 1}}
    assert overlay(given_input, {"size": 50, "nested": {"a": 2, "b": 3}, "id": "v"}) == {"size": 50, "nested": {"a": 2}}


def test_a_secret_input_stays_secret_when_it_drifts() -> None:
    assert overlay(Secret("old"), "new") == Secret("new")


def test_what_cannot_be_read_back_stays_as_given() -> None:
    assert overlay({"a": 1}, {}) == {"a": 1}
