"""The documentation site: it builds strictly, fetches nothing, and its reference has every public name."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
PUBLIC = ["memstack", "memstack.testing"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; processes that test side by side build them once."""
    apart = "PYTEST_XDIST_WORKER" in os.environ
    folder = (tmp_path_factory.getbasetemp().parent if apart else tmp_path_factory.mktemp("site")) / "pages"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
            built = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
            assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_nothing_is_fetched_to_read_the_pages(site: Path) -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "report.html"}
    assert len(pages) > 20
    fetching = (
        r"<(?:script|img|iframe|link[^>]+rel=\"?(?:stylesheet|preconnect))[^>]+(?:src|href)=\"?https?://[^\s\">]+"
    )
    assert {str(path): found for path, text in pages.items() if (found := re.findall(fetching, text))} == {}
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"(?:@import|url\()[\s\"']*https?://[^)]+", styles) == []


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_is_in_the_reference(package: str, site: Path) -> None:
    reference = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    anchors = set(re.findall(r'id="?([\w.]+)', reference))
    missing = [name for name in importlib.import_module(package).__all__ if f"{package}.{name}" not in anchors]
    assert missing == []


def test_every_command_is_described(site: Path) -> None:
    page = (site / "command-line.html").read_text(encoding="utf-8")
    for command in ("backends", "check", "train", "compare"):
        assert f'id="{command}"' in page
    assert "--debug" in page


def test_the_pictures_are_in_the_site(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in site.glob("*.html"))
    shown = set(re.findall(r'src="(report/[\w/-]+\.png)"', pages))
    assert shown
    assert [picture for picture in sorted(shown) if not (site / picture).is_file()] == []
