"""The page against the rules of axe-core, where a copy of it is at hand: AXE_CORE names its axe.min.js."""

import os
from pathlib import Path

import pytest

from tests.report.browser import after

AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm pack axe-core, then AXE_CORE=package/axe.min.js")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_no_rule_is_broken(page, width, theme):
    said = after(
        page,
        f"""
        document.querySelectorAll('details').forEach(d => {{ d.open = true; }});
        {AXE.read_text(encoding="utf-8")}
        axe.run({{exclude: [['#said']]}}).then(found => {{
          say(found.passes.length > 20);
          found.violations.forEach(v => say(v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120)).join(' | ')));
        }});
        """,
        f"--window-size={width},900",
        f"--blink-settings=preferredColorScheme={1 if theme == 'light' else 0}",
    )
    assert said.splitlines() == ["true"]
