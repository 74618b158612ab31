"""What the tests of maps made elsewhere share."""

import pytest

from lightning_app.maps import evaluate


@pytest.fixture
def without_figures(monkeypatch):
    """Figures take seconds; what a module's fixtures evaluate has them, being made before."""
    monkeypatch.setattr(evaluate, "draw_diagrams", lambda *given: None)
    monkeypatch.setattr(evaluate, "draw_cases", lambda *given: None)
