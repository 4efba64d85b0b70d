"""Targets as a person writes them."""

import pytest

from ttft.errors import TtftError
from ttft.targets import targets


def names(*arguments: str) -> list[tuple[str, str]]:
    return [(each.name, each.url) for each in targets(arguments)]


def test_names_are_given_or_made_of_the_url() -> None:
    assert names("near=http://192.0.2.1:8080/", "https://NAME.example/gateway/") == [
        ("near", "http://192.0.2.1:8080"),
        ("NAME.example/gateway", "https://NAME.example/gateway"),
    ]


def test_the_same_url_twice_is_a_test_of_the_test() -> None:
    assert [name for name, _ in names("http://192.0.2.1", "http://192.0.2.1")] == ["192.0.2.1", "192.0.2.1 (2)"]


def test_an_equals_sign_in_a_url_is_no_name() -> None:
    with pytest.raises(TtftError, match="query"):
        targets(["http://192.0.2.1/path?key=1"])


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("192.0.2.1", "ttft http://192.0.2.1"),
        ("ftp://192.0.2.1", "ttft http://192.0.2.1"),
        ("http://", "ttft http://HOST:PORT"),
        ("http://192.0.2.1:port", "ttft http://HOST:PORT"),
        ("http://192.0.2.1/generate_stream", "ttft http://192.0.2.1 --dialect tgi"),
        ("http://192.0.2.1/x/v1/completions", "ttft http://192.0.2.1/x --dialect completions"),
        ("http://192.0.2.1/v1/", "ttft http://192.0.2.1 --dialect auto"),
    ],
)
def test_what_is_no_base_url_is_told_with_the_command(argument: str, remedy: str) -> None:
    with pytest.raises(TtftError) as raised:
        targets([argument])
    assert str(raised.value).endswith(f"-> {remedy}")


def test_names_are_unique() -> None:
    with pytest.raises(TtftError, match="two targets are called 'a'"):
        targets(["a=http://192.0.2.1", "a=http://192.0.2.2"])
