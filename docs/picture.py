"""Writes docs/report.png and docs/report-dark.png, the upper part of a report as Chromium shows it.

python docs/picture.py  # needs chromium, and the extra `test`
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from planner import fit, report_page

WIDTH, HEIGHT = 1280, 1010
"""Pixels of the part that is shown."""
COLORS = 256
"""Colors of the pictures: flat areas and the edges of letters need no more."""


def main() -> None:
    """Writes the pictures."""
    page = report_page(fit("llama-2-7b", gpu="A100-40GB"))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        for scheme, name in (("light", "report.png"), ("dark", "report-dark.png")):
            tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            tab.set_content(page)
            shown = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            shown.quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(Path(__file__).with_name(name), optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
