"""The pages in a real browser: opened, filtered, kept up to date, narrow, dark, and refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from decloud_pl.journal.record import State
from decloud_pl.rounds.events import Training
from tests.dashboard.conftest import Home, record

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

PATIENCE = 20


def until(browser: WebDriver, condition: Callable[[], Any]) -> None:
    WebDriverWait(browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition())


def text_of(browser: WebDriver, selector: str) -> str:
    """Read in one step: what htmx replaces meanwhile must not make a test fail."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


@pytest.fixture
def page(browser: WebDriver, url: str) -> WebDriver:
    """The overview, in a window of ordinary size and light colours."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    media(browser, "light")
    browser.get(url)
    return browser


def media(browser: WebDriver, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def errors(browser: WebDriver) -> list[str]:
    """What the console complains of: scripts that fail, and what the content policy forbids."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def test_it_opens_and_draws(page: WebDriver) -> None:
    assert "token" not in page.current_url
    assert "running" in text_of(page, "#status")
    assert "0.9 SOL" in text_of(page, "#status")
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".chart canvas")) == 2)
    label = page.find_element(By.CSS_SELECTOR, "[data-chart=curves]").get_attribute("aria-label")
    assert label == "Training curves: loss 0.058 at step 40"
    assert errors(page) == []


def test_it_follows_what_happens(page: WebDriver, home: Home) -> None:
    until(page, lambda: "40/100" in text_of(page, "#active-2"))
    chart = page.find_element(By.CSS_SELECTOR, "[data-chart=curves]")
    home.train(2, 60, 0.5)
    until(page, lambda: "60/100" in text_of(page, "#active-2"))
    until(page, lambda: chart.get_attribute("aria-label") == "Training curves: loss 0.500 at step 60")
    home.reports.report(Training(2, "evaluate", 0, 0, 0, None, 0.75))
    words = "Training curves: loss 0.500 at step 60, accuracy 75.0 % at step 60"
    until(page, lambda: chart.get_attribute("aria-label") == words)
    home.save(record(2, State.CLAIMED, claimed_lamports=100_000_000))
    until(page, lambda: "1 SOL in all" in text_of(page, "#status"))
    assert "No round is at work." in text_of(page, "#status")
    until(page, lambda: "claimed" in text_of(page, "#last tbody tr"))
    assert errors(page) == []


def test_the_log_is_filtered_while_typing_and_keeps_the_focus(page: WebDriver, home: Home) -> None:
    page.find_element(By.LINK_TEXT, "Log").click()
    until(page, lambda: "did not answer" in text_of(page, "#log"))
    field = page.find_element(By.ID, "q")
    field.send_keys("empty")
    until(page, lambda: "did not answer" not in text_of(page, "#log") and "is empty" in text_of(page, "#log"))
    assert page.switch_to.active_element == field
    until(page, lambda: "q=empty" in page.current_url)
    # The filter holds when the list brings itself up to date.
    home.save(record(3, State.FAILED, reason="its shelf is empty"))
    until(page, lambda: "its shelf is empty" in text_of(page, "#log"))
    assert "did not answer" not in text_of(page, "#log")
    Select(page.find_element(By.ID, "kind")).select_by_visible_text("skipped")
    until(page, lambda: "No event fits." in text_of(page, "#log"))
    assert errors(page) == []


def test_the_keyboard_reaches_everything(page: WebDriver) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the content"
    page.switch_to.active_element.send_keys(Keys.TAB, Keys.TAB)
    names = []
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.TAB)
        names.append(page.switch_to.active_element.text)
    assert names[:2] == ["Log", "Skipped"]
    unlabelled = page.execute_script(
        # What is inside a picture (a chart's legend) is described by the picture's label.
        "const tables = [...document.querySelectorAll('table')].filter((t) => !t.closest('[role=img]') && !t.caption);"
        "const fields = [...document.querySelectorAll('input:not([type=hidden]), select')];"
        "return tables.length + fields.filter((field) => !field.labels.length).length"
    )
    assert unlabelled == 0


@pytest.mark.parametrize("path", ["/", "/rounds", "/rounds/2", "/log", "/skipped"])
def test_a_narrow_screen_needs_no_sideways_scrolling(page: WebDriver, url: str, path: str) -> None:
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.get(url.split("/?", maxsplit=1)[0] + path)
    widths = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [320, 320]


def contrast(browser: WebDriver, selector: str) -> float:
    """The contrast of a text with the page's ground, as WCAG 2 computes it."""
    return float(
        browser.execute_script(
            """
            const light = (text) => text.match(/\\d+(?:\\.\\d+)?/g).slice(0, 3).map((part) => part / 255)
              .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
              .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
            const one = light(getComputedStyle(document.querySelector(arguments[0])).color);
            const two = light(getComputedStyle(document.body).backgroundColor);
            return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
            """,
            selector,
        )
    )


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_light_and_dark_can_both_be_read(page: WebDriver, scheme: str, *, is_dark: bool) -> None:
    media(page, scheme)
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (int(ground.split("(")[1].split(",")[0]) < 64) is is_dark
    for selector in ("h1", ".card dt", ".good", ".state-training", ".state-failed", "#last a", "footer p"):
        assert contrast(page, selector) >= 4.5, selector


def test_a_wrong_token_shows_a_sentence(browser: WebDriver, url: str) -> None:
    browser.delete_all_cookies()
    browser.get(url.replace("token=", "token=x"))
    assert "The token in the address is wrong" in text_of(browser, "main")
    browser.get(url.split("?", maxsplit=1)[0])
    assert "A token is needed" in text_of(browser, "main")
