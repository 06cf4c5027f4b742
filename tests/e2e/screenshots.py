"""Take the documentation's pictures of a running server.

    python -m tests.e2e.screenshots "http://127.0.0.1:8080/sign-in?code=…" docs/images

The address is the one-time sign-in address that the demo prints.
"""

from pathlib import Path
from urllib.parse import urljoin

import click
from playwright.sync_api import Browser, Page

from tests.e2e.chromium import started_chromium

WIDTH_PX, HEIGHT_PX = 1440, 900
READY_MS = 30_000
COMMON_FIELD = "检查结果"
"""A conflict in this field is preferred: codes make a clearer picture than whole texts."""


def take(page: Page, address: str, file: Path, *, whole: bool = False) -> None:
    """Open an address and keep its picture."""
    page.goto(address)
    page.screenshot(path=file, full_page=whole, animations="disabled")


def take_all(browser: Browser, sign_in: str, folder: Path) -> list[Path]:
    """Sign in, and photograph the overview in both languages and the first conflict, if there is one, in Chinese."""
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
    page = context.new_page()
    page.goto(sign_in)
    page.wait_for_selector(".chain", timeout=READY_MS)
    pictures = []
    for language in ("en", "zh"):
        pictures.append(folder / f"overview-{language}.png")
        take(page, urljoin(sign_in, f"/?lang={language}"), pictures[-1])
    rows = page.locator(".conflict-row")
    common = rows.filter(has_text=COMMON_FIELD)
    conflict = (common if common.count() else rows).first
    if conflict.count():
        pictures.append(folder / "conflict-zh.png")
        take(page, urljoin(sign_in, conflict.get_attribute("href") or "/"), pictures[-1], whole=True)
    context.close()
    return pictures


@click.command()
@click.argument("sign_in")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(sign_in: str, folder: Path) -> None:
    """Photograph the pages of a running server: SIGN_IN is the one-time address that the demo prints."""
    with started_chromium() as browser:
        for picture in take_all(browser, sign_in, folder):
            click.echo(picture)


if __name__ == "__main__":
    main()
