"""The rig sees what the other tests rely on."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("script", "seen"),
    [
        ("new Image().src = 'https://example.org/pixel.png'", "external request: https://example.org/pixel.png"),
        ("fetch('https://example.org/data.json').catch(() => 0)", "external request: https://example.org/data.json"),
        ("fetch('http://192.0.2.1/').catch(() => 0)", "external request: http://192.0.2.1/"),
        ("void new WebSocket('wss://example.org/socket')", "external request: wss://example.org/socket"),
        ("console.error('it broke')", "error: it broke"),
        ("void setTimeout(() => { throw new Error('nobody caught it') })", "error: Error: nobody caught it"),
        ("void Promise.reject(new Error('left alone'))", "error: Error: left alone"),
    ],
)
def test_what_is_wrong_in_a_page_is_seen(script, seen, watched):
    watched.assert_clean()
    watched.page.evaluate(script)
    with pytest.raises(AssertionError, match=f"(?m)^{seen}"):
        watched.assert_clean()


def test_what_is_right_in_a_page_is_not(watched):
    watched.page.evaluate("fetch('data:text/plain,x').then(() => fetch(URL.createObjectURL(new Blob(['x']))))")
    watched.page.evaluate("console.warn('not an error')")
    watched.assert_clean()


def test_pixels_are_what_is_seen(watched):
    watched.page.set_content(
        "<body style='background: #102030'><div style='width: 100px; height: 50px; background: #0072B2'>"
        "<p style='width: 10px; height: 10px; background: #fff'></p></div>"
    )
    pixels = watched.pixels(watched.page.locator("div"))
    assert (pixels.of("#0072B2"), pixels.of("#ffffff"), pixels.of("#102030")) == (4900, 100, 0)
    assert (pixels.background, pixels.brightest) == ((0, 0x72, 0xB2), 255)
    assert watched.pixels(watched.page.locator("body")).background == (0x10, 0x20, 0x30)


def test_axe_finds_a_control_without_a_name(watched):
    watched.page.set_content("<html lang='en'><title>x</title><main><input type='text'></main>")
    (found,) = watched.axe("main")
    assert found.startswith("label (critical): input")


def test_a_notebook_runs_restarts_and_loses_its_kernel(notebook, watched):
    book = notebook(["first = 6", "print(first * 7)"])
    assert book.outputs(1)[0]["text"] == "42\n"
    assert "42" in book.output(1).inner_text()
    assert book.ask("print(first)") == "6\n"
    assert book.add("print(first + 1)") == 2
    assert "7" in book.output(2).inner_text()
    with watched.traffic() as traffic:
        book.ask("print('x' * 100_000)")
    assert 100_000 < traffic.received < 110_000
    assert 0 < traffic.sent < 2_000

    book.reload()
    assert book.ask("print(first)") == "6\n"
    book.restart_kernel()
    assert book.ask("print('first' in globals())") == "False\n"
    watched.assert_clean()
    book.kill_kernel()
    assert book.lab.call("GET", "/api/kernels") == []
    watched.assert_clean()


def test_a_cell_that_fails_is_seen_and_nothing_is_left_to_the_next_test(notebook, page):
    book = notebook(["1", "1 / 0", "2"], run=False)
    with pytest.raises(AssertionError, match="cell 1: division by zero"):
        book.run_all()
    with pytest.raises(AssertionError, match="cell 3: oh"):
        book.add("import sys; print('oh', file=sys.stderr)")
    assert page.evaluate("document.body.dataset.jpThemeLight") == "true"
    book.theme("dark")
    assert page.evaluate("document.body.dataset.jpThemeLight") == "false"

    page.goto("about:blank")
    book.lab.reset()
    assert list(book.lab.root.iterdir()) == []
    assert book.lab.call("GET", "/api/kernels") == []
    notebook(["1"], run=False)
    assert page.evaluate("document.body.dataset.jpThemeLight") == "true"


def test_voila_shows_a_notebook(voila, watched):
    voila(["import ipywidgets\nipywidgets.IntSlider(value=42, description='answer')", "print(6 * 7)"])
    watched.page.get_by_text("42").nth(1).wait_for()
    watched.page.locator(".widget-slider").wait_for()
    watched.assert_clean()
