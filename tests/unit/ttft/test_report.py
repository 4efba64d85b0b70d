"""The page: what its text says, and what a real browser makes of it on a phone, in the dark and on a desk."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from typing import Any

import made_up
import pytest

from ttft.report import page, write_report
from ttft.samples import Run
from ttft.summary import Judgement, summarize

CITIES = ("Los Angeles", "Honolulu", "Seattle")
SITES = ("Los Angeles", "Oregon", "Honolulu")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_MEASURE = """<script>
const box = element => { const {width, height} = element.getBoundingClientRect(); return {width, height}; };
const all = selector => [...document.querySelectorAll(selector)];
const page = document.documentElement;
const found = {
  width: page.clientWidth, needed: page.scrollWidth,
  outside: all("body *").filter(e => e.getBoundingClientRect().right > page.clientWidth + 1).map(e => e.outerHTML.slice(0, 120)),
  title: document.querySelector("h1").innerText,
  background: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
  bars: all(".track").map(track => ({label: track.getAttribute("aria-label"), track: box(track),
    segments: [...track.querySelectorAll(".segment")].map(s => ({kind: s.className, ...box(s)}))})),
  dots: all("svg .dots").map(path => box(path)),
  lines: all("svg .line").map(path => box(path)),
  tags: all(".tag").map(e => e.innerText),
  tag_position: all(".tag").map(e => getComputedStyle(e).position)[0],
  title_lines: all("h1").map(e => Math.round(box(e).height / parseFloat(getComputedStyle(e).lineHeight)))[0],
  font: Math.min(...all("td, p, li, span").map(e => parseFloat(getComputedStyle(e).fontSize))),
};
const out = parent.document.createElement("pre");
out.id = "found"; out.textContent = JSON.stringify(found); parent.document.body.append(out);
</script>"""

Look = Callable[..., dict[str, Any]]


def many_cities(**changes: Any) -> Run:
    return made_up.run(
        made_up.targets(CITIES, SITES), connections=("warm", "cold"), prompts=(128, 512, 2048), rounds=12, **changes
    )


@pytest.fixture(scope="module")
def full_page() -> str:
    run = many_cities(simulated=("network", "model"))
    run.failures += [made_up.failure(run.targets[1].name, round=index, started_ms=index * 900.0) for index in range(3)]
    return page(summarize(run, Judgement(slo_ms=120, device_ms=60)), run)


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Renders a page in a headless browser and says what came out."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine: apt install chromium")

    def rendered(text: str, *, width: int, dark: bool = False) -> dict[str, Any]:
        file = tmp_path / "page.html"
        # A window is at least 500 pixels wide, a frame is as narrow as a phone.
        framed = escape(text.replace("</body>", f"{_MEASURE}</body>"))
        frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{framed}"></iframe>'
        file.write_text(f'<!doctype html><meta name="color-scheme" content="light dark">{frame}', encoding="utf-8")
        finished = subprocess.run(
            [
                str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
                f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", file.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        found = re.search(r'<pre id="found">(.*?)</pre>', finished.stdout, re.DOTALL)
        assert found, finished.stderr
        return json.loads(unescape(found[1]))

    return rendered


def brightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_a_phone_shows_everything_without_scrolling_sideways(full_page: str, look: Look) -> None:
    found = look(full_page, width=390)
    assert found["width"] == 390
    assert found["needed"] <= 390, found["outside"]
    assert found["outside"] == []
    assert found["font"] >= 11
    assert len(found["bars"]) == len(CITIES) * len(SITES) * 2
    for bar in found["bars"]:
        assert bar["track"]["width"] > 250
        assert all(segment["width"] > 0 and segment["height"] > 10 for segment in bar["segments"])


def test_bars_are_as_long_as_their_numbers(full_page: str, look: Look) -> None:
    found = look(full_page, width=1200)
    lengths: list[tuple[float, float]] = []
    for bar in found["bars"]:
        assert {segment["kind"].split()[-1] for segment in bar["segments"]} >= {"network", "generation"}
        lengths.append((float(bar["label"].split(": ")[1].split()[0]), sum(segment["width"] for segment in bar["segments"])))
    ms_per_pixel = [ms / pixels for ms, pixels in lengths]
    assert max(ms_per_pixel) == pytest.approx(min(ms_per_pixel), rel=0.02), "one scale for all cities"
    assert all(each["width"] + each["height"] > 30 for each in found["dots"])
    assert all(each["width"] > 100 for each in found["lines"])
    assert len(found["dots"]) == 2 * 2 * len(CITIES) * len(SITES), "distribution and timeline, warm and cold"


def test_dark_is_dark_and_light_is_light(full_page: str, look: Look) -> None:
    dark, light = look(full_page, width=800, dark=True), look(full_page, width=800)
    assert brightness(dark["background"]) < 50
    assert brightness(dark["ink"]) > 200
    assert brightness(light["background"]) > 200
    assert brightness(light["ink"]) < 50


def test_one_badge_says_what_is_simulated_and_stays_in_sight(full_page: str, look: Look) -> None:
    found = look(full_page, width=1200)
    assert found["tags"] == ["Simulated network and model"]
    assert found["tag_position"] == "sticky"
    assert found["title"] == "25.2 to 63.4 ms sooner from the best site of each city"
    assert found["title_lines"] == 1


def test_a_real_run_has_no_badge_and_its_number_on_top(look: Look) -> None:
    run = made_up.run()
    found = look(page(summarize(run), run), width=1200)
    assert found["tags"] == []
    assert re.match(r"2\d\.\d ms sooner: Los Angeles than ", found["title"])
    assert found["title_lines"] == 1


def test_set_up_is_in_words_and_what_is_alike_is_said_once(full_page: str) -> None:
    set_up = full_page[full_page.index("<h2>Set-up") : full_page.index("<h2>Conventions")]
    assert " · " not in set_up
    assert "_" not in re.sub(r"<[^>]*>", "", set_up)
    assert set_up.count("engine tgi") == 1


def test_the_page_needs_nothing_else(full_page: str) -> None:
    assert "<script" not in full_page
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!#)", full_page)
    assert "url(" not in full_page
    assert "@import" not in full_page
    assert "@media print" in full_page


def test_what_servers_say_is_text_and_no_markup() -> None:
    run = made_up.run(rounds=3)
    run.targets[0] = replace(run.targets[0], site="<b>evil</b>")
    run.failures.append(made_up.failure("Oregon", message="<script>alert(1)</script>"))
    run.setup["servers"] = {"Oregon": {"model": '"><img src=x>'}}
    text = page(summarize(run), run)
    assert "<script>" not in text
    assert "<img" not in text
    assert "<b>evil" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_page_from_a_summary_says_what_is_missing(tmp_path: Path) -> None:
    run = made_up.run()
    path = tmp_path / "report.html"
    write_report(summarize(run), None, path)
    text = path.read_text(encoding="utf-8")
    assert "need the raw samples" in text
    assert "Every request, warm" not in text


def test_failures_set_up_and_server_views_are_on_the_page(full_page: str) -> None:
    assert "3 of 75" in full_page
    assert "connection refused" in full_page
    assert "closed loop, 1 at a time" in full_page
    assert "engine tgi, version 2.4.0, model meta-llama/Llama-3.2-3B" in full_page
    assert "Every request gave a real token" not in full_page


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_run_with_next_to_nothing_still_makes_a_page(rounds: int) -> None:
    run = made_up.run(rounds=rounds, connections=("warm", "cold"))
    assert "</html>" in page(summarize(run), run)


def test_a_target_without_a_split_has_a_bar_of_one_piece() -> None:
    run = made_up.run(made_up.targets(sites=("Oregon",)))
    run.samples = [replace(each, split="none", network_ms=None, generation_ms=None) for each in run.samples]
    text = page(summarize(run), run)
    assert "not split" in text
    assert 'class="segment unsplit"' in text


def test_the_same_run_gives_the_same_page(full_page: str) -> None:
    run = many_cities(simulated=("network", "model"))
    run.failures += [made_up.failure(run.targets[1].name, round=index, started_ms=index * 900.0) for index in range(3)]
    assert page(summarize(run, Judgement(slo_ms=120, device_ms=60)), run) == full_page
