from __future__ import annotations

import json

import pytest

from ttft.dialects import DIALECTS, DONE, NOTHING, TOKEN, DialectName, NotThisDialectError, Said


def said(dialect: DialectName, event: object) -> Said:
    return DIALECTS[dialect].read(json.dumps(event).encode())


def tgi(text: str, *, special: bool = False, details: object = None) -> dict[str, object]:
    return {"token": {"id": 1, "text": text, "special": special}, "generated_text": None, "details": details}


def test_a_special_or_empty_token_is_none() -> None:
    assert said("tgi", tgi(" a")) == TOKEN
    assert said("tgi", tgi("")) == said("tgi", tgi("<|eot_id|>", special=True)) == NOTHING


def test_a_role_alone_is_no_token() -> None:
    assert said("chat", {"choices": [{"delta": {"role": "assistant", "content": ""}}]}) == NOTHING
    assert said("chat", {"choices": [{"delta": {"content": None}}]}) == NOTHING
    assert said("chat", {"choices": [{"delta": {"content": "a"}}]}) == TOKEN
    assert said("chat", {"choices": [{"delta": {"reasoning_content": "a"}}]}) == TOKEN


def test_the_servers_own_count_of_the_prompt() -> None:
    assert said("tgi", tgi("a", details={"input_length": 7})) == Said(token=True, prompt_tokens=7)
    assert said("completions", {"choices": [], "usage": {"prompt_tokens": 7}}) == Said(prompt_tokens=7)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_errors_within_a_stream(dialect: DialectName) -> None:
    assert said(dialect, {"error": "no memory", "error_type": "generation"}).error == "no memory (generation)"
    assert said(dialect, {"error": {"message": "no memory", "code": 500}}).error == "no memory"
    assert said(dialect, {"object": "error", "message": "no memory"}).error == "no memory"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "event", [b"", b"hello", b"[]", b"{}", b"3", b"null", b'{"choices": 3}', b'{"token": 3}', b'{"choices": [{}]}']
)
def test_what_is_of_no_dialect(dialect: DialectName, event: bytes) -> None:
    with pytest.raises(NotThisDialectError, match=DIALECTS[dialect].route):
        DIALECTS[dialect].read(event)


def test_done() -> None:
    assert DIALECTS["chat"].read(b"[DONE]") == DONE


def test_each_dialect_asks_for_a_stream_of_so_many_tokens() -> None:
    assert DIALECTS["tgi"].body("p", "m", 5) == {"inputs": "p", "parameters": {"max_new_tokens": 5, "details": True}}
    chat = DIALECTS["chat"].body("p", "m", 5)
    assert chat["messages"] == [{"role": "user", "content": "p"}]
    assert (chat["model"], chat["max_tokens"], chat["stream"]) == ("m", 5, True)
    assert "prompt" not in chat
