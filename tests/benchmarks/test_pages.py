"""The pages that asv publishes: they lead to the report, open on entries, and have tables that need no network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from asv import util

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
CONFIGURATIONS = "asv.conf.json", "asv.kept.json"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published pages of the kept results."""
    folder = tmp_path_factory.mktemp("pages") / "html"
    line = [sys.executable, "-m", "asv", "--config", "asv.kept.json", "publish", "--no-pull", "-o", str(folder)]
    done = subprocess.run(line, cwd=BENCHMARKS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "other words" not in done.stdout + done.stderr  # every edit of asv's templates found its place
    return folder


def configuration(name: str) -> dict[str, object]:
    return util.load_json(BENCHMARKS / name, api_version=1, js_comments=True)


def test_a_run_writes_where_git_does_not_look() -> None:
    usual, kept = map(configuration, CONFIGURATIONS)
    assert {key: value for key, value in kept.items() if usual.get(key) != value} == {"results_dir": "results"}
    assert usual.keys() == kept.keys()
    for key in ("results_dir", "env_dir", "html_dir"):
        line = ["git", "check-ignore", "--quiet", str(usual[key])]
        assert subprocess.run(line, cwd=BENCHMARKS, check=False).returncode == 0, key


def test_the_pages_lead_to_the_report(pages: Path) -> None:
    index = (pages / "index.html").read_text()
    assert '<a href="report.html">Recall against time: the report</a>' in index
    assert (pages / "report.html").read_bytes() == (BENCHMARKS / "report" / "two-cores" / "report.html").read_bytes()
    for offline in ("tables.html", "report.html"):
        assert f'href="{offline}"' in (pages / "error.html").read_text()
        fetched = re.findall(r'(?:src|href|srcset)=["\']?https?://', (pages / offline).read_text())
        assert fetched == []


def test_a_picture_opens_on_entries_and_the_grid_says_what_it_is(pages: Path) -> None:
    script = (pages / "graphdisplay.js").read_text()
    assert "['entries', 'queries', 'memories', 'dim'].filter" in script
    index = (pages / "index.html").read_text()
    assert "Each tile is the mean over all backends and sizes" in index
    assert 'location.hash = "#/summarylist"' in index


def test_every_kept_number_is_in_the_tables(pages: Path) -> None:
    text = (pages / "tables.html").read_text()
    kept = [json.loads(path.read_text()) for path in (BENCHMARKS / "results" / "two-cores").glob("*-py*.json")]
    newest = max(kept, key=lambda one: one["date"])
    assert set(re.findall(r"<h3>([\w.]+)</h3>", text)) == newest["results"].keys()
    rows = text.partition("step.TrainingStep.track_ratio")[2].partition("</table>")[0]
    assert re.findall(r"<td>([a-z-]+)</td>", rows) == ["exact", "bucketed", "faiss-ivf", "hnsw", "jax", "scann"]
    assert re.search(r"<tr><th>backend x entries</th><th>2048</th><th>8192</th><th>65536</th></tr>", rows)
