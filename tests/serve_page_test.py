"""The page of serve.py in a browser: it asks, draws bars, marks entities, needs no mouse, and loads nothing else."""

import os
import shutil
import threading
import time
import types

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")
import uvicorn
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from steady_bert.serving import server
from steady_bert.serving.application import application
from steady_bert.serving.settings import ServingConfig

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium is not installed: apt-get install chromium chromium-driver"
)
# The contrast of each element that has text, as WCAG 2.1 defines it: at least 4.5 can be read.
CONTRAST = """
const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = (c) => [.2126, .7152, .0722].reduce((sum, share, n) => sum + share * linear(c[n] / 255), 0);
const back = (e) => {
  const c = parse(getComputedStyle(e).backgroundColor);
  return c.length > 3 && c[3] === 0 ? back(e.parentElement) : c;
};
const seen = (e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
return [...document.querySelectorAll("body *")].filter(seen).map((e) => {
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))];
  return [e.tagName, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
});
"""
SHOTS = os.environ.get("STEADY_BERT_SCREENSHOTS")  # a folder, to look at the page


class Model:
    """Answers every text with the same, as a Predictor answers."""

    def __init__(self, kind, answer, text_counts=(1,)):
        self._answer = answer
        self.run = types.SimpleNamespace(
            kind=kind,
            folder=os.devnull,
            prefix="model.ckpt-3",
            task=types.SimpleNamespace(labels=("blame", "praise")),
            text_counts=text_counts,
        )
        config = types.SimpleNamespace(hidden_size=32, num_hidden_layers=1)
        long_text = types.SimpleNamespace(mode="cut")
        self.encoder = types.SimpleNamespace(bert_config=config, max_seq_length=16, long_text=long_text)

    def prepare(self, texts):
        return types.SimpleNamespace(texts=texts, tokens=len(texts))

    def answer(self, asked):
        return [[self._answer for _ in each.texts] for each in asked]


CLASSIFIER = Model(
    "single", {"label": "praise", "score": 0.7251, "probabilities": {"blame": 0.2749, "praise": 0.7251}}, (1, 2)
)
TEXT = "😀 anna met bob smith in new york <b>rome</b>"
SPANS = [(2, 6, "PER"), (11, 20, "PER"), (24, 32, "LOC"), (36, 40, "LOC"), (41, 44, "constructor")]
ENTITIES = [{"start": a, "end": b, "type": kind, "text": TEXT[a:b], "score": 0.9} for a, b, kind in SPANS]
TAGGER = Model("bio", {"text": TEXT, "entities": ENTITIES})


class Served:
    """A model at an address, served by a thread."""

    def __init__(self, model, **settings):
        config = ServingConfig("m", port=0, model_name="a_model", **settings)
        listening = server._listen(config)
        self._server = uvicorn.Server(uvicorn.Config(application(model, config), log_level="warning"))
        self._server.install_signal_handlers = lambda: None
        self._thread = threading.Thread(target=self._server.run, args=([listening],))
        self._thread.start()
        self.address = "http://127.0.0.1:{}/".format(listening.getsockname()[1])

    def __enter__(self):
        while not self._server.started:
            time.sleep(0.01)
        return self.address

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for name in ("headless", "no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update"):
        options.add_argument("--" + name)
    options.add_argument("--disable-sync")
    options.add_argument("--user-data-dir={}".format(tmp_path_factory.mktemp("chromium")))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(DRIVER))
    yield driver
    driver.quit()


def look(browser, name, width, dark):
    """Shows the page at a width, in light or dark; checks that nothing is cut off and that all text can be read."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
    )
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    contrasts = browser.execute_script(CONTRAST)
    assert len(contrasts) > 5 and min(contrast for _, contrast in contrasts) >= 4.5, contrasts
    if SHOTS:
        browser.save_screenshot("{}/{}-{}-{}.png".format(SHOTS, name, width, "dark" if dark else "light"))


def shown(browser, heading):
    """Waits until the result has its heading; gives the text of its rows."""

    def is_there(_):
        return [e for e in browser.find_elements(By.CSS_SELECTOR, "#result h2") if heading(e.text)]

    WebDriverWait(browser, 20).until(is_there)
    return [row.text.split() for row in browser.find_elements(By.CSS_SELECTOR, "#result tbody tr")]


def test_a_classifiers_probabilities_are_bars_and_the_keyboard_is_enough(browser):
    with Served(CLASSIFIER) as address:
        browser.get(address)
        WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "name").text == "a_model")
        focused = browser.switch_to.active_element
        assert focused.get_attribute("id") == "first"  # the first key goes into the text
        focused.send_keys("good alpha" + Keys.CONTROL + Keys.ENTER)
        rows = shown(browser, lambda text: text == "praise")
        assert rows == [["praise", "✓", "0.7251"], ["blame", "0.2749"]]
        widths = [float(bar.get_attribute("style")[7:-2]) for bar in browser.find_elements(By.CLASS_NAME, "fill")]
        assert widths == [72.51, 27.49]
        for width in (320, 1000):
            for dark in (False, True):
                look(browser, "classifier", width, dark)
        focused.send_keys(Keys.TAB, Keys.TAB)
        assert browser.switch_to.active_element.get_attribute("id") == "ask"
        for field in browser.find_elements(By.CSS_SELECTOR, "textarea, input"):
            assert browser.find_elements(By.CSS_SELECTOR, "label[for={}]".format(field.get_attribute("id")))
        assert browser.find_element(By.ID, "result").get_attribute("aria-live") == "polite"
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert loaded and all(name.startswith(address) for name in loaded)
        assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_entities_are_marked_in_the_text_at_their_characters(browser):
    with Served(TAGGER) as address:
        browser.get(address)
        browser.find_element(By.ID, "first").send_keys("anna")
        browser.find_element(By.ID, "ask").click()
        rows = shown(browser, lambda heading: heading == "5 entities")
        assert rows[1] == ["bob", "smith", "PER", "0.9000"]
        marks = browser.find_elements(By.TAG_NAME, "mark")
        assert [mark.text.replace("\u00a0", " ") for mark in marks] == ["{text} {type}".format(**e) for e in ENTITIES]
        text = browser.find_element(By.CLASS_NAME, "text").text.replace("\u00a0", " ")
        assert text.startswith("😀 anna PER met bob smith PER in new york LOC <b>rome LOC")
        assert [mark.get_attribute("class") for mark in marks] == ["e0", "e0", "e1", "e1", "e2"]
        colours = [mark.value_of_css_property("background-color") for mark in marks]
        assert colours[0] == colours[1] and colours[2] == colours[3] and len(set(colours)) == 3
        look(browser, "tagger", 320, True)
        look(browser, "tagger", 1000, False)


def test_a_server_with_keys_asks_for_one_and_an_error_is_read_out(browser, tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    with Served(CLASSIFIER, api_key_file=str(tmp_path / "keys")) as address:
        browser.get(address)
        field = browser.find_element(By.ID, "first")
        field.send_keys("good", Keys.CONTROL + Keys.ENTER)
        WebDriverWait(browser, 20).until(lambda _: browser.find_elements(By.CSS_SELECTOR, "[role=alert]"))
        assert "Send a key" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
        browser.find_element(By.ID, "key").send_keys("secret")
        browser.find_element(By.ID, "ask").click()
        assert shown(browser, lambda heading: heading == "praise")
