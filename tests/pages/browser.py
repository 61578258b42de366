"""The system's Chromium, driven by Playwright, and axe-core in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import Browser, Page, sync_playwright

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")

#: What lies outside the page, and what has more in it than it shows: where text is cut, or stands on other text.
TROUBLES = """() => {
  const wide = document.documentElement.clientWidth, found = [];
  const style = one => getComputedStyle(one);
  const named = one => `${one.tagName} ${one.getAttribute('class')} ${one.textContent.trim().slice(0, 40)}`;
  const shown = one => one.checkVisibility() && one.getClientRects().length;
  const hidden = one => { const head = one.closest('.wide thead'); return head && style(head).clipPath !== 'none'; };
  for (const one of document.querySelectorAll('body *')) {
    if (!shown(one) || hidden(one) || one.closest('title, desc')) continue;
    const box = one.getBoundingClientRect();
    if (box.left < -0.5 || box.right > wide + 0.5) found.push(`outside: ${named(one)}`);
    if (style(one).overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1 && !one.closest('svg'))
      found.push(`cut: ${named(one)}`);
  }
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !shown(parent) || hidden(parent) || parent.closest('title, desc')) continue;
    const range = document.createRange();
    range.selectNodeContents(walk.currentNode);
    for (const box of range.getClientRects()) texts.push([box, walk.currentNode]);
  }
  texts.sort((a, b) => a[0].top - b[0].top);
  for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
    const [a, one] = texts[i], [b, other] = texts[j];
    if (b.top > a.bottom) break;
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (one !== other && across > 1 && down > 4) found.push(`overlap: ${one.data.trim()} / ${other.data.trim()}`);
  }
  return found;
}"""


def missing() -> str | None:
    """Why there is no browser; None: there is one."""
    return None if shutil.which("chromium") else "there is no chromium"


@contextmanager
def running() -> Iterator[Browser]:
    """The browser; it has no sandbox where this is root."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, html: Path, width: int) -> Iterator[tuple[Page, list[str]]]:
    """A page of that width, light, and the list of what it asked for beside itself, and of what it said."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
    said: list[str] = []
    page.on("request", lambda request: said.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(html.as_uri())
    said.remove(html.as_uri())
    yield page, said
    page.close()


def violations(page: Page, *rules: str) -> list[str]:
    """What axe-core finds by these rules (none: by all), and what it cannot decide, by rule and place.

    It cannot decide on the contrast of text in a drawing; a test does.
    """
    page.evaluate(AXE.read_text(encoding="utf-8"))  # not as a script of the page, which runs none
    result = page.evaluate("rules => axe.run(document, rules.length ? {runOnly: rules} : {})", list(rules))
    found = [(one["id"], place["html"]) for one in result["violations"] for place in one["nodes"]]
    open_ = [(one["id"], place["html"]) for one in result["incomplete"] for place in one["nodes"]]
    return [
        f"{rule}: {html[:160]}"
        for rule, html in (*found, *((rule, html) for rule, html in open_ if not html.startswith("<text ")))
    ]
