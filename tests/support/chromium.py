"""Chromium of the system's package, headless, and pages in it that run a script of ours.

Commands and outcomes go through the browser's debugging pipe: there is no web server, and no page but an
empty one.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, Route, async_playwright

FLAGS = (
    "--no-sandbox",  # it does not start as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",  # candidates with addresses: nobody here resolves .local
    "--use-fake-device-for-media-stream",  # a camera and a microphone, where there is none
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
ORIGIN = "http://localhost/"
"A page of this host has crypto.subtle. The browser asks nobody for it: see `new_page`."


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A headless Chromium of the system's."""
    path = shutil.which("chromium")
    assert path is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def new_page(browser: Browser, script: str) -> AsyncIterator[Page]:
    """A page that has run a script."""

    async def answer(route: Route) -> None:
        await route.fulfill(body="<!doctype html><title>peer</title>", content_type="text/html")

    # Who may use a camera may also see all addresses, not only the one of the default route.
    context = await browser.new_context(permissions=["camera", "microphone"])
    try:
        page = await context.new_page()
        await page.route(ORIGIN, answer)
        await page.goto(ORIGIN)
        await page.evaluate(script + "\n; undefined")  # what a script's end gives is not for us
        yield page
    finally:
        await context.close()
