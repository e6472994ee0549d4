"""The pages in a real browser: content, filters, updates, narrow screens, dark mode and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from decloud_pl.journal.audits import Audit, store_audit
from decloud_pl.journal.record import State
from decloud_pl.journal.schema import JOURNAL_FILE
from decloud_pl.journal.track_record import SeenRound, store_rounds
from decloud_pl.journal.writer import Journal
from decloud_pl.rounds.events import Skipped, Training
from tests.dashboard.conftest import CREATOR, OWNER, VALIDATOR, Home, record

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

PATIENCE = 30
PATHS = ["/", "/rounds", "/rounds/2", "/log", "/validators", "/skipped"]


def until(browser: WebDriver, condition: Callable[[], Any]) -> None:
    WebDriverWait(browser, PATIENCE, poll_frequency=0.05).until(lambda _: condition())


def text_of(browser: WebDriver, selector: str) -> str:
    """Return the text of an element. One script reads it, because an update may replace the element meanwhile."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def column(browser: WebDriver, table: str, number: int) -> list[str]:
    """Return the texts of a column."""
    code = "return [...document.querySelectorAll(arguments[0])].map((cell) => cell.innerText)"
    return list(browser.execute_script(code, f"{table} tbody td:nth-child({number})"))


@pytest.fixture
def page(browser: WebDriver, url: str) -> WebDriver:
    """An empty page in a window of normal size and light colours, while a dashboard shows the home."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    media(browser, "light")
    browser.get("about:blank")
    for kind in ("performance", "browser"):
        browser.get_log(kind)  # type: ignore[no-untyped-call]  # drops the entries of earlier tests
    return browser


@pytest.fixture
def overview(page: WebDriver, url: str) -> None:
    page.get(url)
    until(page, lambda: "running" in text_of(page, ".status"))


def go(browser: WebDriver, url: str, path: str) -> None:
    """Open a page with the token in its address, and wait until it is drawn."""
    base, _, token = url.partition("/?")
    browser.get(f"{base}{path}{'&' if '?' in path else '?'}{token}")
    until(browser, lambda: text_of(browser, "h1"))


def media(browser: WebDriver, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def errors(browser: WebDriver) -> list[str]:
    """Return the errors in the console: failed scripts and violations of the content policy."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def test_it_opens_and_draws(page: WebDriver, overview: None) -> None:
    assert "token" not in page.current_url
    assert "0.9 SOL" in text_of(page, ".status")
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, ".chart svg")) == 2)
    label = page.find_element(By.CSS_SELECTOR, "[data-chart=curves]").get_attribute("aria-label")
    assert label == "Training curves: loss 0.058 at step 40"
    assert errors(page) == []


def test_no_request_leaves_the_machine_and_everything_has_a_name(page: WebDriver, url: str) -> None:
    for path in PATHS:
        go(page, url, path)
        assert (path, unnamed(page)) == (path, [])
    until(page, lambda: "below your minimum" in text_of(page, ".skips"))
    asked = []
    for entry in page.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            asked.append(message["params"]["url"])
    own = urlsplit(url).netloc
    assert {urlsplit(one).netloc for one in asked if urlsplit(one).scheme in ("http", "https", "ws", "wss")} == {own}
    assert {urlsplit(one).scheme for one in asked} <= {"http", "ws", "data", "chrome"}
    assert len([one for one in asked if one.startswith("ws:")]) >= len(PATHS)
    assert errors(page) == []


def test_a_round_says_whether_it_was_paid_correctly(page: WebDriver, url: str, home: Home) -> None:
    go(page, url, "/rounds/0")
    until(page, lambda: "not audited" in text_of(page, ".cards"))
    store_audit(home.journal, Audit(0, VALIDATOR, CREATOR, "unfair", "delta", OWNER.wallet, 6_000, 1_000, 150))
    until(page, lambda: "paid 10 %, fair 60 % ± 1.5 %" in text_of(page, ".cards"))
    assert "unfair" in text_of(page, ".cards")
    assert errors(page) == []


@pytest.mark.parametrize(("path", "target"), [("/rounds/2", "/rounds"), ("/log", "/log")])
def test_another_wallet_opens_a_page_that_exists(page: WebDriver, url: str, home: Home, path: str, target: str) -> None:
    other = OWNER._replace(wallet="OtherWallet")
    home.journal.close()  # it is locked
    home.journal = Journal(home.path / JOURNAL_FILE, other)
    home.journal.save(record(70, State.FAILED))
    go(page, url, f"{path}?owner={OWNER.folder}")
    page.find_element(By.CSS_SELECTOR, "[aria-label=Wallet]").click()

    def others() -> list[WebElement]:  # the menu opens with an animation, and its texts are empty until then
        options = page.find_elements(By.CSS_SELECTOR, ".q-menu .q-item")
        return [option for option in options if len(options) == 2 and "Other" in option.text]

    until(page, others)
    others()[0].click()
    until(page, lambda: page.current_url.endswith(f"{target}?owner={other.folder}"))
    until(page, lambda: "Round" in text_of(page, "h1") or text_of(page, "h1") == "Log")


def test_it_follows_what_happens(page: WebDriver, overview: None, home: Home) -> None:
    until(page, lambda: "40/100" in text_of(page, ".active"))
    chart = page.find_element(By.CSS_SELECTOR, "[data-chart=curves]")
    home.train(2, 60, 0.5)
    until(page, lambda: "60/100" in text_of(page, ".active"))
    until(page, lambda: chart.get_attribute("aria-label") == "Training curves: loss 0.500 at step 60")
    home.reports.report(Training(2, "evaluate", 0, 0, 0, None, 0.75))
    words = "Training curves: loss 0.500 at step 60, accuracy 75.0 % at step 60"
    until(page, lambda: chart.get_attribute("aria-label") == words)
    home.save(record(2, State.CLAIMED, claimed_lamports=100_000_000))
    until(page, lambda: "1 SOL in total" in text_of(page, ".status"))
    until(page, lambda: "No active rounds." in text_of(page, ".status"))
    until(page, lambda: "claimed" in text_of(page, ".last tbody tr"))
    assert errors(page) == []


def test_a_page_says_that_the_journal_cannot_be_read_and_recovers(page: WebDriver, overview: None, home: Home) -> None:
    home.journal.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = home.path / "journal.sqlite"
    whole = path.read_bytes()
    path.write_bytes(b"not a database" * 1000)
    until(page, lambda: "cannot be read" in text_of(page, "[role=alert]"))
    assert "0.9 SOL" in text_of(page, ".status")
    path.write_bytes(whole)
    until(page, lambda: "cannot be read" not in text_of(page, "[role=alert]"))


def choose(browser: WebDriver, label: str, option: str) -> None:
    """Open a list with the keyboard and select an option."""
    browser.find_element(By.CSS_SELECTOR, f"[aria-label='{label}']").send_keys(Keys.ENTER)
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "[role=option]"))
    browser.execute_script(
        "[...document.querySelectorAll('[role=option]')].find((one) => one.innerText === arguments[0]).click()", option
    )


def test_the_log_is_filtered_while_typing_and_keeps_the_focus(page: WebDriver, overview: None, home: Home) -> None:
    page.find_element(By.LINK_TEXT, "Log").click()
    until(page, lambda: "did not answer" in text_of(page, ".log"))
    field = page.find_element(By.CSS_SELECTOR, "[aria-label=Text]")
    field.send_keys("empty")
    until(page, lambda: "did not answer" not in text_of(page, ".log") and "is empty" in text_of(page, ".log"))
    assert page.switch_to.active_element == field
    until(page, lambda: "q=empty" in page.current_url)
    # The filter stays after an update of the list.
    home.save(record(3, State.FAILED, reason="its shelf is empty"))
    until(page, lambda: "its shelf is empty" in text_of(page, ".log"))
    assert "did not answer" not in text_of(page, ".log")
    choose(page, "State or kind", "skipped")
    until(page, lambda: page.find_element(By.CSS_SELECTOR, ".empty.log").is_displayed())
    assert errors(page) == []


def test_rounds_are_sorted_filtered_and_paged(page: WebDriver, url: str, home: Home) -> None:
    for number in range(10, 70):
        home.save(record(number, State.CLAIMED, claimed_lamports=number * 10**6))
    go(page, url, "/rounds")
    until(page, lambda: "63 rounds, page 1 of 2" in text_of(page, ".count"))
    assert column(page, ".rounds", 1)[:2] == ["69", "68"]
    heading = page.find_element(By.XPATH, "//button[starts-with(., 'Earned')]")
    heading.send_keys(Keys.ENTER)
    until(page, lambda: column(page, ".rounds", 1)[:2] == ["0", "69"])
    heading.send_keys(Keys.SPACE)
    until(page, lambda: column(page, ".rounds", 1)[:2] == ["10", "11"])
    assert page.find_element(By.CSS_SELECTOR, "[aria-sort=ascending]").text == "Earned ↑"
    assert page.switch_to.active_element == heading
    page.find_element(By.XPATH, "//button[starts-with(., 'Round')]").click()
    until(page, lambda: column(page, ".rounds", 1)[:2] == ["69", "68"])
    page.find_element(By.CSS_SELECTOR, ".q-pagination [aria-label='2']").click()
    until(page, lambda: "page 2 of 2" in text_of(page, ".count"))
    assert len(column(page, ".rounds", 1)) == 13
    assert "page=2" in page.current_url
    choose(page, "State", "failed")
    until(page, lambda: text_of(page, ".count") == "1 round")
    assert column(page, ".rounds", 9) == ["the data set <digits> is empty"]
    assert "state=failed" in page.current_url
    page.refresh()
    until(page, lambda: text_of(page, ".count") == "1 round")
    assert errors(page) == []


def test_skipped_rounds_come_with_reasons_and_are_filtered(page: WebDriver, url: str, home: Home) -> None:
    home.activity.report(Skipped(9, "its data set svhn is not yours"))
    go(page, url, "/skipped")
    until(page, lambda: "its reward of … SOL is below your minimum of … SOL" in text_of(page, ".reasons"))
    assert column(page, ".skips", 2) == ["9", "8", "7"]
    page.find_element(By.XPATH, "//*[contains(@class, 'skips')]//button[starts-with(., 'Reason')]").click()
    until(page, lambda: column(page, ".skips", 2) == ["8", "7", "9"])
    page.find_element(By.CSS_SELECTOR, "[aria-label=Reason]").send_keys("svhn")
    until(page, lambda: column(page, ".skips", 2) == ["9"])


def test_track_records_are_shown_and_follow_the_journal(page: WebDriver, url: str, home: Home) -> None:
    go(page, url, "/validators")
    until(page, lambda: column(page, ".validators", 1) == [VALIDATOR])
    cells = page.execute_script("return [...document.querySelectorAll('.validators td')].map((one) => one.innerText)")
    assert cells[1:6] == ["2", "1", "1 min 35 s", "–", "1 equal"]
    assert column(page, ".creators", 1) == [CREATOR]
    assert column(page, ".creators", 4) == ["1"]
    # The page reads the journal every 10 s, so both tables change at once.
    home.journal.connection.execute("UPDATE seen_rounds SET validator = NULL")
    store_rounds(home.journal, [SeenRound(99, VALIDATOR, None, "cancelled", 1)])
    until(page, lambda: column(page, ".creators", 1) == [CREATOR, VALIDATOR])
    until(page, lambda: page.find_element(By.CSS_SELECTOR, ".empty.validators").is_displayed())
    assert "No validators are known yet." in text_of(page, ".empty.validators")
    assert errors(page) == []


def test_a_track_record_is_seen_whole_on_narrow_and_wide_screens(page: WebDriver, url: str) -> None:
    for width in (360, 1200):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        go(page, url, "/validators")
        until(page, lambda: column(page, ".validators", 1) == [VALIDATOR])
        cut = page.execute_script(
            """
            return [...document.querySelectorAll('.validators td, .creators td')].filter((cell) => {
              const {left, right, height} = cell.getBoundingClientRect();
              return left < 0 || right > window.innerWidth || height === 0 || cell.scrollWidth > cell.clientWidth + 1;
            }).map((cell) => cell.outerHTML);
            """
        )
        assert cut == []
        assert page.execute_script("return document.documentElement.scrollWidth") == width


def test_the_focus_stays_while_the_page_changes(page: WebDriver, overview: None, home: Home) -> None:
    link = page.find_element(By.CSS_SELECTOR, ".last a")
    page.execute_script("arguments[0].focus()", link)
    home.train(2, 70, 0.4)
    home.save(record(4, State.FAILED, reason="its shelf is empty"))
    until(page, lambda: "70/100" in text_of(page, ".active") and "its shelf is empty" in text_of(page, ".last"))
    assert page.switch_to.active_element == link


def test_the_keyboard_reaches_everything(page: WebDriver, overview: None) -> None:
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    assert page.switch_to.active_element.text == "Skip to the content"
    page.switch_to.active_element.send_keys(Keys.TAB, Keys.TAB)
    names = []
    for _ in range(4):
        page.switch_to.active_element.send_keys(Keys.TAB)
        names.append(page.switch_to.active_element.text)
    assert names[:3] == ["Log", "Skipped", "Validators"]
    assert page.switch_to.active_element.get_attribute("aria-label") == "Colours: as in the system"


def unnamed(browser: WebDriver) -> list[str]:
    """Return the beginnings of all elements that a screen reader could not name."""
    return list(
        browser.execute_script(
            """
            const all = (selector) => [...document.querySelectorAll(`${selector}:not([aria-hidden=true])`)];
            return [
              ...all('table').filter((one) => !one.closest('[role=region][aria-label]')),
              ...all('input').filter((one) => !one.labels.length),
              ...all('button').filter((one) => !one.ariaLabel && !one.innerText),
              ...all('[role=img]').filter((one) => one.checkVisibility() && !one.ariaLabel),
            ].map((one) => one.outerHTML.slice(0, 200));
            """
        )
    )


def test_a_narrow_screen_needs_no_sideways_scrolling(page: WebDriver, url: str) -> None:
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    widths = {}
    for path in PATHS:
        go(page, url, path)
        widths[path] = page.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == {path: [320, 320] for path in PATHS}


@pytest.mark.parametrize("width", [360, 480])
def test_a_narrow_screen_shows_every_value_one_title_and_dots_in_the_legend(
    page: WebDriver, url: str, home: Home, width: int
) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.get(url)
    until(page, lambda: "40/100" in text_of(page, ".active"))
    cells = page.execute_script(
        """
        return [...document.querySelectorAll('.active td')].map((cell) => {
          const {left, right, height} = cell.getBoundingClientRect();
          const name = getComputedStyle(cell, '::before').content.replaceAll('"', '');
          return [name, cell.innerText, left >= 0 && right <= window.innerWidth && height > 0];
        });
        """
    )
    assert [name for name, _, is_seen in cells if is_seen] == [
        *("Round", "State", "Time left", "Progress", "Loss", "Accuracy", "Reward")
    ]
    values = {name: text for name, text, _ in cells}
    assert (values["Loss"], values["Reward"]) == ("0.058", "1 SOL")
    # The highlighted link shows the page. The hidden heading is for screen readers.
    assert page.execute_script("return document.querySelector('h1').getBoundingClientRect().width") <= 1
    assert text_of(page, "[aria-current=page]") == "Overview"
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "[data-chart=curves] svg text"))
    words = "return [...document.querySelectorAll('[data-chart=curves] text')].map((one) => one.textContent)"
    drawn = page.execute_script(words)
    assert "Loss" in drawn
    assert "Accuracy, %" not in drawn  # there is no accuracy yet


def test_colours_can_be_chosen_and_stay(page: WebDriver, overview: None, url: str) -> None:
    def is_dark() -> bool:
        return bool(page.execute_script("return document.body.classList.contains('body--dark')"))

    def press(words: str) -> None:
        until(page, lambda: page.find_elements(By.CSS_SELECTOR, f"[aria-label='{words}']"))
        page.find_element(By.CSS_SELECTOR, f"[aria-label='{words}']").click()

    press("Colours: as in the system")
    until(page, is_dark)
    go(page, url, "/log")
    until(page, is_dark)
    press("Colours: dark")
    until(page, lambda: not is_dark())
    press("Colours: light")
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "[aria-label='Colours: as in the system']"))


def contrast(browser: WebDriver, selector: str) -> float:
    """Return the contrast between a text and the background of the page, as defined by WCAG 2."""
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


def test_light_and_dark_can_both_be_read(page: WebDriver, overview: None) -> None:
    for scheme, is_dark in (("light", False), ("dark", True)):
        media(page, scheme)
        until(page, partial(page.find_elements, By.CSS_SELECTOR, f".body--{scheme}"))
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (int(ground.split("(")[1].split(",")[0]) < 64) is is_dark
        until(page, lambda: "failed" in text_of(page, ".last"))
        for selector in (
            "h1",
            ".card dt",
            ".good",
            ".state-training",
            ".state-failed",
            ".last a",
            "footer p",
            ".last th",
        ):
            assert contrast(page, selector) >= 4.5, selector


def test_a_wrong_token_shows_a_sentence(browser: WebDriver, url: str) -> None:
    browser.delete_all_cookies()
    browser.get(url.replace("token=", "token=x"))
    assert "The token in the address is wrong" in text_of(browser, "main")
    browser.get(url.split("?", maxsplit=1)[0])
    assert "The address has no token" in text_of(browser, "main")
