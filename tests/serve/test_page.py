"""The page in a real browser: headless Chromium, driven by selenium."""

import importlib.util
import os
import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request

import pytest

from mocoop.serve.page import quiet_gradio, serve
from mocoop.serve.session import Session
from tests.faults import victims
from tests.protocols.checkout import wait_for
from tests.tools.tool import Tool

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
in_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER and importlib.util.find_spec("gradio") and importlib.util.find_spec("selenium")),
    reason="needs chromium, its driver, and the packages gradio and selenium",
)


@pytest.fixture(scope="module")
def page(trained_runs):
    """The page of two runs, served by a thread."""
    from mocoop.runs.trained_run import load_run

    with quiet_gradio():
        page = serve(Session([load_run(trained_runs.of(name)) for name in ("coop", "mocoop")]))
        yield page
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(page, browser):
    """The page in the browser, as wide as a desktop; a function waits for elements of it."""
    size(browser, 1280)
    browser.get(page.local_url)
    wait_for(lambda: browser.find_elements("css selector", "#mc-images input[type=file]"))
    return browser


def size(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def text_of(browser, selector):
    return " ".join(
        browser.execute_script(f"return [...document.querySelectorAll({selector!r})].map(e => e.innerText)")
    )


def use_names(browser, text):
    box = browser.find_element("css selector", "#mc-names textarea")
    box.clear()
    box.send_keys(text)
    browser.find_element("css selector", "#mc-use").click()


def pictures(trained_runs, folder, count):
    (folder / "deep").mkdir(parents=True)
    sources = sorted((trained_runs.data_root / "shapes_both/images").rglob("*_00.png"))[:count]
    for i, source in enumerate(sources):
        shutil.copy(source, folder / ("deep" if i else "") / f"picture{i}.png")
    (folder / "notes.txt").write_text("mine")
    return [str(path) for path in sorted(folder.rglob("*.png"), key=lambda path: path.name)]


@in_browser
def test_images_names_and_errors(opened, trained_runs, tmp_path):
    paths = pictures(trained_runs, tmp_path / "set", 3)
    opened.find_element("css selector", "#mc-images input[type=file]").send_keys("\n".join(paths[:2]))
    wait_for(lambda: "2 images; both runs name the same class for" in text_of(opened, ".mc-notice"))
    cards = text_of(opened, ".mc-card")
    assert "CoOp on ShapesBoth" in cards and "MoCoOp on ShapesBoth" in cards and "answered. Nearest by" in cards
    assert text_of(opened, ".mc-answers h2") == "picture0.png"
    thumbnails = "#mc-gallery button.thumbnail-item"
    wait_for(lambda: len(opened.find_elements("css selector", thumbnails)) == 2)
    opened.find_elements("css selector", thumbnails)[1].click()
    wait_for(lambda: text_of(opened, ".mc-answers h2") == "picture1.png")

    use_names(opened, "circle\ncircle")
    wait_for(lambda: text_of(opened, ".mc-error") == "got the class name 'circle' more than once, expected each once")
    use_names(opened, "red circle\nblue star")
    wait_for(lambda: set(text_of(opened, ".mc-classes .mc-name").split()) == {"red", "circle", "blue", "star"})
    assert text_of(opened, ".mc-error") == ""
    opened.find_element("css selector", "#mc-reset").click()
    wait_for(lambda: text_of(opened, ".mc-classes").count("%") == 10)
    hosts = opened.execute_script("return performance.getEntriesByType('resource').map(e => new URL(e.name).hostname)")
    assert set(hosts) <= {"127.0.0.1", ""}


@in_browser
def test_a_folder_is_dropped_and_a_phone_scrolls_down_only(opened, trained_runs, tmp_path):
    pictures(trained_runs, tmp_path / "set", 3)
    size(opened, 390)
    box = opened.find_element("css selector", "#mc-images").rect
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    dropped = {"items": [], "files": [str(tmp_path / "set")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        opened.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **place, "data": dropped})
    wait_for(lambda: text_of(opened, ".mc-notice").startswith("3 images"))
    assert opened.execute_script("return document.documentElement.scrollWidth") == 390


@in_browser
def test_it_answers_this_machine_only_and_loads_nothing_from_elsewhere(page):
    with urllib.request.urlopen(page.local_url) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    stranger = urllib.request.Request(page.local_url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(stranger)
    with socket.socket() as other:
        other.settimeout(2)
        address = socket.gethostbyname(socket.gethostname())
        assert address.startswith("127.") or other.connect_ex((address, page.server_port)) != 0


def test_the_tool_says_what_is_missing_in_one_line(trained_runs, capsys, monkeypatch):
    tool, run = Tool("serve", capsys), trained_runs.of("coop")
    status, _, err = tool(run, run, run)
    assert status == 2 and err == "error: got 3 runs, expected one, or two to compare\n"
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gradio" else find(name))
    status, _, err = tool(run)
    assert status == 2 and err == "error: the page needs the package gradio: pip install gradio\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_was_dropped_is_gone_when_the_command_ends(trained_runs, tmp_path, number):
    from mocoop.tools import serve as serve_tool

    class Page:
        local_url = "http://127.0.0.1:7860/"

        def block_thread(self):
            """As gradio's: until Ctrl-C."""
            with open(os.path.join(os.environ["GRADIO_TEMP_DIR"], "dropped.png"), "w"):
                pass
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass

    def prepare():
        tempfile.tempdir = str(tmp_path / "temporary")
        (tmp_path / "temporary").mkdir()
        serve_tool.check_gradio_installed = lambda: None
        serve_tool.serve = lambda session, host, port: Page()

    victim = victims.start(victims.tool("serve", str(trained_runs.of("coop"))), tmp_path, prepare)
    wait_for(lambda: list(tmp_path.glob("temporary/*/dropped.png")))
    os.kill(victim.pid, number)
    ending = victims.end(victim, tmp_path)
    assert (ending.status, list((tmp_path / "temporary").iterdir())) == (0, []), ending.err
