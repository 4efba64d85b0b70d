"""Prompts that no prefix cache knows, of an exact length in the server's own tokens, without a tokenizer on this side.

Words are syllables (bab, bac, ...) of which the server's /tokenize says that each is one token. Where it says nothing, words
are counted instead, and the run's set-up says so. Leaves out meaning: the model's answer is of no interest.
"""

from __future__ import annotations

import json
import random
from itertools import product
from typing import TYPE_CHECKING, cast

import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ttft.connection import Client
    from ttft.dialects import DialectName

_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"
_SYLLABLES = tuple("".join(letters) for letters in product(_CONSONANTS, _VOWELS, _CONSONANTS))
_BATCH_WORDS = 500
_ENOUGH_WORDS = 50
"""With fewer one-token words than this, the tokenizer is too strange to build on."""
_TASK = "\n\nTell a long story with these words."
_TRIES = 6
_OK = 200


class Tokenizer:
    """The server's /tokenize for one dialect, as TGI or vLLM have it."""

    def __init__(self, client: Client, dialect: DialectName, model: str) -> None:
        self._client, self._dialect, self._model = client, dialect, model

    def pieces(self, text: str) -> list[str] | None:
        """The texts of the tokens of a bare text; None where the server does not give them."""
        tgi = self._ask("/tokenize", {"inputs": text})
        if isinstance(tgi, list):
            return _texts([_field(piece, "text") for piece in cast("list[object]", tgi)])
        vllm = self._ask("/tokenize", {"model": self._model, "prompt": text, "return_token_strs": True})
        return _texts(_field(vllm, "token_strs"))

    def count(self, prompt: str) -> int | None:
        """Number of tokens that the model sees of this prompt, a chat's template included; None where nobody says."""
        if self._dialect == "chat":
            ask: dict[str, object] = {"model": self._model, "messages": [{"role": "user", "content": prompt}]}
            pieces = _field(self._ask("/chat_tokenize", ask), "tokenize_response")
        else:
            pieces = self._ask("/tokenize", {"inputs": prompt})
            ask = {"model": self._model, "prompt": prompt}
        if isinstance(pieces, list):
            return len(cast("list[object]", pieces))
        count = _field(self._ask("/tokenize", ask), "count")
        return count if isinstance(count, int) else None

    def _ask(self, route: str, body: dict[str, object]) -> object:
        """The JSON at a route; None where there is none."""
        try:
            response = self._client.ask("POST", route, json.dumps(body).encode())
            return response.json() if response.status_code == _OK else None
        except (requests.RequestException, OSError, ValueError):
            return None


def _field(value: object, name: str) -> object:
    return cast("dict[str, object]", value).get(name) if isinstance(value, dict) else None


def _texts(value: object) -> list[str] | None:
    texts = cast("list[object]", value) if isinstance(value, list) else []
    return [text for text in texts if isinstance(text, str)] or None


class Prompts:
    """Makes prompts for one server.

    First words are drawn without replacement, so that two prompts differ from their first token on until all have been used
    (about two thousand with a large vocabulary); all further words are drawn at random.
    """

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._tokenizer = tokenizer
        inner, first = one_token_words(tokenizer, " "), one_token_words(tokenizer, "\n")
        self.exact = inner is not None
        self._inner: Sequence[str] = inner or _SYLLABLES
        self._first: Sequence[str] = first or self._inner
        self._unused: list[str] = []
        self._words_for: dict[int, tuple[int, str]] = {}
        """By length in tokens: how many words, and the task behind them."""
        self.inexact_lengths: list[int] = []

    def make(self, tokens: int) -> str:
        """A prompt of this many tokens, special ones and a chat's template included; as near as it can be where not."""
        if tokens not in self._words_for:
            self._words_for[tokens] = self._calibrate(tokens)
        words, task = self._words_for[tokens]
        return self._text(words, task)

    def how(self) -> str:
        """How lengths were made, in a sentence for the set-up."""
        if not self.exact:
            return "words, not tokens: the server has no /tokenize that names its tokens; unique from the first word"
        if self.inexact_lengths:
            missed = ", ".join(map(str, self.inexact_lengths))
            return (
                f"tokens by the server's /tokenize, but no prompt of exactly {missed} could be made; unique from the first token"
            )
        return "exact, in tokens by the server's /tokenize; unique from the first token"

    def _text(self, words: int, task: str) -> str:
        if not self._unused:
            self._unused = self._random.sample(self._first, len(self._first))
        return " ".join([self._unused.pop(), *self._random.choices(self._inner, k=words - 1)]) + task

    def _calibrate(self, tokens: int) -> tuple[int, str]:
        """Words and task for a length: one word more is one token more, so a second count settles it."""
        if not self.exact:
            return max(1, tokens), ""
        for task in (_TASK, ""):
            words = max(1, tokens - len(_TASK.split()))
            for _ in range(_TRIES):
                counted = self._tokenizer.count(self._text(words, task))
                if counted is None:
                    break
                if counted == tokens:
                    return words, task
                words = max(1, words + tokens - counted)
        self.inexact_lengths.append(tokens)
        return words, ""


def one_token_words(tokenizer: Tokenizer, separator: str) -> list[str] | None:
    """The syllables that are one token behind this separator; None where the server does not say, or too few are.

    A piece of a syllable is shorter than a syllable, so a token whose text is a syllable is a whole one. Tokenizers write the
    space before a word as a space, as G with a dot (byte-level) or as a low line (SentencePiece).
    """
    found: set[str] = set()
    for start in range(0, len(_SYLLABLES), _BATCH_WORDS):
        pieces = tokenizer.pieces(separator.join(_SYLLABLES[start : start + _BATCH_WORDS]))
        if pieces is None:
            return None
        found.update(piece.lstrip(" \u0120\u2581") for piece in pieces)
    words = [syllable for syllable in _SYLLABLES if syllable in found]
    return words if len(words) >= _ENOUGH_WORDS else None
