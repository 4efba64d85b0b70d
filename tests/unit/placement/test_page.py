"""The page: one file that asks for nothing else, escapes what it is given, and shows what the answer says."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from geography.places import Place
from placement import Answer, Generation, Question, User, candidates, place, users_of
from placement.answer import losses
from placement.answer_page import answer_page

TYPE = "g4dn.2xlarge"


def answered(*more: User) -> Answer:
    users = (*users_of(["US"]), *more)
    return place(Question(users, candidates([TYPE], only=["US"]).able, Generation({TYPE: 20.0}, "made up"), slo_ms=50.0))


class Elements(HTMLParser):
    """Circles of users and buttons, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.users: list[dict[str, str | None]] = []
        self.buttons: list[dict[str, str | None]] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "circle" and (found.get("class") or "").startswith("u "):
            self.users.append(found)
        if tag == "button":
            self.buttons.append(found)
        self.loaded.extend(name for name in ("src", "href", "xlink:href") if name in found)


def test_it_is_one_file_that_asks_for_nothing() -> None:
    text = answer_page(answered(), "A title")
    assert not Elements(text).loaded
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"fetch\(|XMLHttp", text)


def test_names_are_escaped() -> None:
    text = answer_page(answered(User('<b onload="x">', Place(35, -110), 5, "US", "AZ")), "<i>")
    assert "<b " not in text
    assert "<i>" not in text


def test_every_user_is_there_with_their_site_and_who_serves_them_while_it_is_down() -> None:
    answer = answered()
    groups = [site.group for site in answer.sites]
    drawn = Elements(answer_page(answer, "A title"))
    assert len(drawn.users) == len(answer.served)
    order = sorted(range(len(answer.served)), key=lambda row: -answer.question.users[row].weight)
    lost = losses(answer)
    for row, user in zip(order, drawn.users, strict=True):
        served = answer.served[row]
        assert groups[int(user["data-s"] or "")] == served.group
        assert groups[int(user["data-n"] or "")] == lost[served.group][row]
        assert ("data-l" in user) != served.is_inside
    assert [button["data-s"] for button in drawn.buttons] == [str(number) for number in range(len(groups))]


def test_a_single_site_has_no_button_and_old_prices_are_called_old() -> None:
    answer = place(replace(answered().question, sites=1))
    text = answer_page(answer, "A title")
    assert not Elements(text).buttons
    assert "old: " in text
    assert "estimated from the great-circle distance" in text


@pytest.mark.skipif(not shutil.which("node"), reason="no Node.js to read the script with")
def test_its_script_is_read_by_a_parser(tmp_path: Path) -> None:
    text = answer_page(answered(), "A title")
    script = tmp_path / "page.js"
    script.write_text(text.partition("<script>")[2].partition("</script>")[0])
    subprocess.run(["node", "--check", str(script)], check=True)
