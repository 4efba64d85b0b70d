from __future__ import annotations

import io
import json
from typing import cast

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ttft.connection import Access, Client, trusted
from ttft.prompts import Prompts, Tokenizer, one_token_words
from ttft.selftest_server import LONG_WORD_MARK, SelftestServer


class Answers:
    """Stands for the client of a server that answers like this."""

    def __init__(self, *bodies: object) -> None:
        self.bodies = list(bodies)
        self.asked: list[tuple[str, dict[str, object]]] = []

    def ask(self, _method: str, route: str, body: bytes) -> requests.Response:
        self.asked.append((route, json.loads(body)))
        response = requests.Response()
        value = self.bodies.pop(0) if self.bodies else None
        response.status_code = 200 if value is not None else 404
        response.raw = io.BytesIO(json.dumps(value).encode())
        return response


def tokenizer(server: SelftestServer, path: str = "") -> Tokenizer:
    return Tokenizer(Client(f"http://127.0.0.1:{server.port}{path}", Access(trusted(), 5.0)), "tgi", "selftest")


def test_words_of_two_tokens_are_left_out(server: SelftestServer) -> None:
    words = one_token_words(tokenizer(server), " ")
    assert words
    assert len(words) > 1000
    assert not any(LONG_WORD_MARK in word for word in words)


@pytest.mark.parametrize("tokens", [2, 5, 9, 10, 64, 1024])
def test_lengths_are_exact(server: SelftestServer, tokens: int) -> None:
    counts, prompts = tokenizer(server), Prompts(tokenizer(server), 1)
    assert {counts.count(prompts.make(tokens)) for _ in range(5)} == {tokens}
    assert prompts.how().startswith("exact")


def test_no_two_prompts_begin_alike(server: SelftestServer) -> None:
    prompts = Prompts(tokenizer(server), 1)
    firsts = [prompts.make(20).split()[0] for _ in range(1000)]
    assert len(set(firsts)) == 1000


def test_a_length_that_cannot_be_had_is_said(server: SelftestServer) -> None:
    prompts = Prompts(tokenizer(server), 1)
    prompts.make(1)  # the start token alone is one
    assert "no prompt of exactly 1" in prompts.how()


def test_without_tokenize_words_are_counted_and_that_is_said(server: SelftestServer) -> None:
    prompts = Prompts(tokenizer(server, "/bare"), 1)
    assert len(prompts.make(30).split()) == 30
    assert "words, not tokens" in prompts.how()


def test_vllms_tokenize() -> None:
    answers = Answers(
        None, {"count": 3, "tokens": [1, 2, 3], "token_strs": ["<s>", "\u0120bab", "\u2581cac"]}, None, {"count": 9}
    )
    vllm = Tokenizer(cast("Client", answers), "completions", "m")
    assert vllm.pieces("bab cac") == ["<s>", "\u0120bab", "\u2581cac"]
    assert vllm.count("x") == 9
    assert answers.asked[1] == ("/tokenize", {"model": "m", "prompt": "bab cac", "return_token_strs": True})


def test_a_chats_template_counts() -> None:
    pieces: list[object] = [{}, {}]
    tgi = Answers({"tokenize_response": pieces, "templated_text": ""})
    vllm = Answers(None, {"count": 11})
    assert Tokenizer(cast("Client", tgi), "chat", "m").count("x") == 2
    assert Tokenizer(cast("Client", vllm), "chat", "m").count("x") == 11
    assert vllm.asked[1] == ("/tokenize", {"model": "m", "messages": [{"role": "user", "content": "x"}]})


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["count", "tokens", "error", "text"]), inner, max_size=3)))  # fmt: skip
def test_whatever_tokenize_answers_a_prompt_comes_out(value: object) -> None:
    class Always(Answers):
        def ask(self, _method: str, route: str, body: bytes) -> requests.Response:
            self.bodies = [value]
            return super().ask(_method, route, body)

    prompts = Prompts(Tokenizer(cast("Client", Always()), "completions", "m"), 1)
    assert prompts.make(5)
