"""A real headless Chromium: what a page looks like after a script has clicked through it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=4000")  # fmt: skip


def chromium(page: Path, *flags: str) -> str:
    """Open a page; returns what Chromium prints. Skips the test where there is no Chromium."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here")
    profile = page.parent / "profile"
    call = [found, *QUIET, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(call, capture_output=True, text=True, timeout=90, check=True).stdout


def after(page: Path, script: str, *flags: str) -> str:
    """Run a script in the page, as a user's clicks would, and return what it sends by `say(text)`, a line each."""
    tail = (
        '<pre id="said"></pre><script>const say = (text) => '
        '{ document.getElementById("said").textContent += text + "\\n"; };'
        'window.addEventListener("error", (event) => say("ERROR " + event.message));'
        f"{script}</script>"
    )
    probe = page.with_name("probe.html")
    probe.write_text(page.read_text(encoding="utf-8").replace("</body>", tail + "</body>"), encoding="utf-8")
    dom = chromium(probe, "--dump-dom", *flags)
    return re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL)[1].strip()
