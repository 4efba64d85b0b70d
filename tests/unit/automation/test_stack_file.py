"""The reader of stack files: as the engine reads (seen on 3.230; tests/engine/test_stack_files.py asks it again), or refused."""

from pathlib import Path
from typing import Any

import pytest
from stack_file_traps import READ_AS_LOOKED, REFUSED_BY_BOTH, REFUSED_HERE

from automation.engine.stack_file import MOST_BYTES, look, read
from automation.engine.stack_yaml import as_json
from automation.errors import UsageError

X = "edge-inference:x"


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "Pulumi.dev.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(("value", "meant"), READ_AS_LOOKED, ids=[value for value, _ in READ_AS_LOOKED])
def test_read_as_the_engine_reads_it(tmp_path: Path, value: str, meant: object) -> None:
    assert read(written(tmp_path, f"config:\n  {X}: {value}\n")).config == {X: meant}


@pytest.mark.parametrize("text", REFUSED_BY_BOTH.values(), ids=REFUSED_BY_BOTH)
def test_what_the_engine_refuses_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"^Pulumi\.dev\.yaml is no (stack file|sound stack file)(.|\n)*line \d|is no key"):
        read(written(tmp_path, text))


@pytest.mark.parametrize(("text", "told"), REFUSED_HERE.values(), ids=REFUSED_HERE)
def test_what_the_engine_misreads_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(written(tmp_path, text))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"config:\n  {X}: {'[' * 9000}{']' * 9000}\n",
        f"config:\n  {X}:\n" + "".join(f"{'  ' * (level + 2)}a:\n" for level in range(300)),
        f"config:\n  {X}: [{', '.join(['x' * 40] * 7000)}]\n",
        "config:\n  a:a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"  a:{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)),
    ],
    ids=["flow", "blocks", "size", "aliases"],
)
def test_limits_end_the_reading_soon(tmp_path: Path, text: str) -> None:
    """Read whole, each would take minutes."""
    with pytest.raises(UsageError, match=r"nested more than|more than 256 KiB|more than 20000 values"):
        read(written(tmp_path, text))


def test_a_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    text = f"config:\n  {X}: {'x' * (MOST_BYTES - 40)}\n"
    assert len(read(written(tmp_path, text)).config[X]) == MOST_BYTES - 40


def test_all_problems_are_told_together_with_line_and_path(tmp_path: Path) -> None:
    text = "confg: {}\nconfig:\n  a:b: 1\n  a:b: 2\n  sites:\n    - zone: 2024-01-01\n      volumeGib: 0100\n  c:d:e: 5\n"
    found = look(written(tmp_path, text)).problems
    assert [each.path for each in found] == [
        "a:b",
        "sites[0].zone",
        "sites[0].volumeGib",
        "confg",
        "config.c:d:e",
    ]
    assert "line 4: stands there twice, first on line 3" in str(found[0])
    assert 'write 64, or "0100"' in str(found[2])
    assert "did you mean config?" in str(found[3])


def test_keys_are_the_engines(tmp_path: Path) -> None:
    """Without a namespace the project's; `a:config:b` is of old."""
    assert read(written(tmp_path, "config:\n  sites: []\n  aws:config:region: us-west-2\n")).config == {
        "edge-inference:sites": [],
        "aws:region": "us-west-2",
    }


@pytest.mark.parametrize("value", ["{secure: 5}", "{secure: a, other: b}", "[{secure: [a]}]"])
def test_encrypted_values_are_texts_and_stand_alone(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="`secure` holds an encrypted text"):
        read(written(tmp_path, f"config:\n  {X}: {value}\n"))


def test_control_characters_are_shown_escaped(tmp_path: Path) -> None:
    for text in (
        "a\x1b[31m: b\n",
        'config:\n  a:b:"\x1b[31m: b\n',
        'config:\n  "\\e[31m": {a: 1, a: 2}\n',
        "config: !\x1b[31m a\n",
    ):
        with pytest.raises(UsageError) as refused:
            read(written(tmp_path, text))
        assert "\x1b" not in str(refused.value)


def test_json_is_read_alike(tmp_path: Path) -> None:
    """The local cloud's own copies are written so."""
    value: dict[str, Any] = {
        "config": {X: {"a": ["22:22", "NO", "010", "2024-01-01", "\x1b\x7f\x85\u2028", "😀", True, None, 1.5]}}
    }
    text = as_json(value)
    assert read(written(tmp_path, text)).content == value
    assert not set(text) & set("\x1b\x7f\x85\u2028")
