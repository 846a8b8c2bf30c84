"""memstack explain: its page holds just the losses of eval and the bytes of the text, and no text becomes markup."""

import base64
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers.colour_vision import VISIONS, contrast, nearest, seen
from helpers.command_line import Run, ensure_refused
from helpers.small_checkpoint import write_checkpoint
from memstack_models.evaluation.explained_record import ExplainRecord
from memstack_models.report.explain.colours import ON_DARK, ON_LIGHT, STEPS, Diverging
from memstack_models.report.style import DARK, LIGHT, Theme

ODD = (
    '</script><script>document.title = "pwned"</script><!-- <b>&amp; {{ 7 * 7 }} '
    "\u202e evil \u200b 猫🐈 e\u0301\x07\r\n\t]]>"
)
KEYS = """
<script>
const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
const told = [];
focusOn(5);
for (const name of ["ArrowRight", "End", "Home", "ArrowDown", "ArrowUp"]) { key(name); told.push(current); }
key("Enter");
told.push($("panel").hidden, $("panel").querySelectorAll(".head").length, selected === current);
location.hash = `#t${meta.gained[0]}`;
jump();
told.push(current === meta.gained[0], document.activeElement.token === current);
key("Escape");
told.push($("panel").hidden);
document.documentElement.dataset.told = told.join(" ");
</script>
"""
"""Presses keys, once the page is there, and writes down what comes of it."""
THEMES = [pytest.param(LIGHT, ON_LIGHT, id="light"), pytest.param(DARK, ON_DARK, id="dark")]


class Page(HTMLParser):
    """The elements of a page, and what its scripts hold."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.data: dict[str, bytes] = {}
        self.blocks: list[bytes] = []
        self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset") and value]
        self._inside = (given.get("id") or "") if given.get("type") == "text/plain" else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "blocks":
            self.blocks = [base64.b64decode(line) for line in data.split()]
        elif self._inside:
            self.data[self._inside] = base64.b64decode(data)

    def array(self, name: str) -> np.ndarray:
        return np.frombuffer(self.data[name], "<u4" if name == "ids" else "<f4")

    @property
    def text(self) -> bytes:
        vocabulary = json.loads(self.data["meta"])["vocabulary"]
        return b"".join(vocabulary[each].encode("latin-1") for each in self.array("ids"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "<i>odd & long.txt").write_text(f"{ODD}\n" + "words and more words " * 6, encoding="utf-8", newline="")
    (folder / "plain.txt").write_text("nothing of note, twice; " * 5, encoding="utf-8")
    return folder


def test_losses_are_those_of_eval_and_the_text_is_whole(memstack: Run, tmp_path: Path, files: Path) -> None:
    run, names = write_checkpoint(tmp_path), sorted(files.iterdir())
    options = ["--set", "eval.documents=0", "--set", "eval.tokens=0"]
    code, out, err = memstack("explain", run, *names, "--out", "new/page.html", "--json", "page.json", *options)
    assert code == 0, err
    assert "wrote new/page.html" in out
    code, _, err = memstack("eval", run, "--data", files, "--losses", "losses.npz", *options)
    assert code == 0, err
    page = Page(Path("new/page.html"))
    with np.load("losses.npz") as file:
        losses = dict(file)
    predicted = np.ones(len(page.array("ids")), dtype=bool)
    predicted[json.loads(page.data["meta"])["starts"][:-1]] = False
    for name, column in (("off", "memory_off"), ("on", "memory")):
        np.testing.assert_array_equal(page.array(name)[predicted], losses[column])
        assert (page.array(name)[~predicted] == 0).all()
    assert page.text == b"".join(each.read_bytes() for each in names)
    record = ExplainRecord.read(Path("page.json"))
    most = record.gained[0]
    gains = losses["memory_off"] - losses["memory"]
    assert most.without - most.within == pytest.approx(gains.max(), abs=1e-6)
    at = (losses["position"] == most.position) & (losses["names"][losses["document"]] == most.document)
    assert gains[at] == pytest.approx(gains.max(), abs=1e-6)
    assert [each.tokens for each in record.documents] == [int((losses["document"] == i).sum()) for i in range(2)]


def test_no_text_becomes_markup_and_nothing_is_fetched(memstack: Run, tmp_path: Path, files: Path) -> None:
    run = write_checkpoint(tmp_path)
    odd, plain = sorted(files.iterdir())
    for file, page in ((odd, "odd.html"), (plain, "plain.html")):
        code, _, err = memstack("explain", run, file, "--out", page)
        assert code == 0, err
    harmless, harmful = Page(Path("plain.html")), Page(Path("odd.html"))
    assert harmful.tags == harmless.tags
    assert harmful.links == []
    assert harmful.text == odd.read_bytes()
    content = Path("odd.html").read_text(encoding="utf-8")
    assert "<i>odd" not in content
    assert "&lt;i&gt;odd &amp; long.txt" in content
    assert "default-src 'none'" in content


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_the_page_draws_itself_and_is_used_by_keys(memstack: Run, tmp_path: Path, files: Path) -> None:
    """Bytes are tokens here, so that a place in the first line is a token's number."""
    code, _, err = memstack("explain", write_checkpoint(tmp_path), *sorted(files.iterdir()), "--out", "page.html")
    assert code == 0, err
    content = Path("page.html").read_text(encoding="utf-8")
    Path("page.html").write_text(content.replace("</body>", f"{KEYS}</body>"), encoding="utf-8")
    line = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*line, Path("page.html").absolute().as_uri()], capture_output=True, text=True, check=False)
    if not done.stdout:
        pytest.skip("chromium does not start here")
    assert "data-ready=" in done.stdout
    assert "<title>Where memory helps" in done.stdout
    assert 'role="button"' in done.stdout
    told = done.stdout.partition('data-told="')[2].partition('"')[0].split()
    right, end, home, down, up = map(int, told[:5])
    assert (right, home, up) == (6, 1, 1)
    assert home < right < end < down
    assert told[5:] == ["false", "4", "true", "true", "true", "true"]


def test_what_cannot_be_explained_is_said_in_one_line(memstack: Run, tmp_path: Path, files: Path) -> None:
    run, plain = write_checkpoint(tmp_path), files / "plain.txt"
    ensure_refused(memstack("explain", run, plain, "--out", "page.pdf"), "--out page.pdf should be a file that ends")
    ensure_refused(memstack("explain", run, plain, "--tokens", 1), "the document token alone")
    ensure_refused(memstack("explain", run, files), "is a folder: name files")
    ensure_refused(memstack("explain", run, "test/0.tx"), "test/0.tx is no file, and no document of")
    ensure_refused(memstack("explain", run, plain, "--set", "model.memory_layers=[]"), "no memory layer")
    plain.write_bytes(b"\xff\xfe\x00")
    ensure_refused(memstack("explain", run, plain), "plain.txt is UTF-16")
    assert not Path("runs").exists()


def test_a_document_of_the_corpus_is_known_by_its_name(memstack: Run, tmp_path: Path) -> None:
    code, out, err = memstack(
        "explain", write_checkpoint(tmp_path), "test/1.txt", "--tokens", "60", "--out", "page.html"
    )
    assert code == 0, err
    assert "test/1.txt: 59 tokens" in out


@pytest.mark.parametrize(("theme", "colours"), THEMES)
def test_text_is_read_on_every_colour(theme: Theme, colours: Diverging) -> None:
    assert len(colours.saves) == len(colours.costs) == len(STEPS)
    for colour in (*colours.saves, *colours.costs):
        assert contrast(theme.ink, colour) >= 4.5, colour


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(("theme", "colours"), THEMES)
def test_saving_and_costing_are_told_apart_whoever_looks(theme: Theme, colours: Diverging, vision: str) -> None:
    """Steps of one side grow darker or lighter evenly enough to be told apart, and the sides never meet."""
    for side in (colours.saves, colours.costs):
        assert nearest([theme.paper, *side], vision) >= 4
        steps = [np.linalg.norm(seen(each, vision) - seen(theme.paper, vision)) for each in side]
        assert steps == sorted(steps)
    for saves, costs in zip(colours.saves, colours.costs, strict=True):
        assert nearest([saves, costs], vision) >= 9
