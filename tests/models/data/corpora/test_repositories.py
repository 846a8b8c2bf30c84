"""A folder of repositories: what belongs to one, in which order, and what is left out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from memstack_models.data.corpora.github import gathered

from memstack import SPLITS, Corpus, CorpusError, create_corpus


def fill(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def texts(corpus: Corpus) -> dict[str, str]:
    return {document.name: document.text for split in SPLITS for document in corpus.documents(split)}


CODE = b"x = 1\n" * 20
SMALL = {f"other{n}/code.py": b"y = %d\n" % n * 9 for n in range(4)}


def test_folders_are_kept_together_and_each_file_follows_its_path(tmp_path: Path) -> None:
    files = {"one/b.py": b"b = 1", "one/a/z.py": b"z = 1\r\n", "one/a.py": b"a = 1", "one/a/b/c.py": b"c = 1"}
    found = texts(create_corpus("github", path=fill(tmp_path, files | SMALL), shortest=0))
    assert found["one"] == (
        "# one/a/b/c.py\nc = 1\n\n# one/a/z.py\nz = 1\n\n# one/a.py\na = 1\n\n# one/b.py\nb = 1\n\n"
    )


def test_other_files_hidden_ones_and_what_is_no_text_are_left_out(tmp_path: Path) -> None:
    files = {
        "one/code.py": CODE,
        "one/notes.txt": CODE,
        "one/.hidden.py": CODE,
        "one/latin.py": b"# \xe9",
        "one/empty.py": b"",
        "one/table.c": b"\0\0",
        "module.py": CODE,
    }
    corpus = create_corpus("github", path=fill(tmp_path, files | SMALL), shortest=0)
    found = texts(corpus)
    assert found["one"] == f"# one/code.py\n{CODE.decode()}\n"
    assert set(found) == {"one", "module.py", *(name.partition("/")[0] for name in SMALL)}
    notice = corpus.notice() or ""
    assert "a document per repository" in notice
    assert "1 not UTF-8 (one/latin.py)" in notice
    assert "1 binary (one/table.c)" in notice
    with pytest.raises(CorpusError, match=r"latin\.py is not UTF-8.*unreadable=skip"):
        texts(create_corpus("github", path=tmp_path, shortest=0, unreadable="refuse"))


def test_a_pattern_chooses_other_files_and_small_repositories_are_left_out(tmp_path: Path) -> None:
    split = {f"{split}/{split}-{n}/notes.txt": f"{split} {n} ".encode() * 10**n for split in SPLITS for n in (1, 3)}
    found = texts(create_corpus("github", path=fill(tmp_path, split), pattern="*.txt", shortest=1000))
    assert set(found) == {f"{split}/{split}-3" for split in SPLITS}
    with pytest.raises(CorpusError, match=r"no train documents of 9,000,000 characters"):
        texts(create_corpus("github", path=tmp_path, pattern="*.txt", shortest=9_000_000))


def test_no_more_than_a_window_of_files_is_held() -> None:
    held: list[int] = []

    def rows() -> Iterator[tuple[str, str, str]]:
        for path in ("a", "b"):
            for number in range(8):
                held.append(number)
                yield f"r{number}", path, "x" * 100

    whole = dict(gathered(rows(), 10_000))
    assert {name: sorted(files) for name, files in whole.items()} == {f"r{n}": ["a", "b"] for n in range(8)}
    held.clear()
    found = gathered(rows(), 250)
    assert next(found)[0] == "r0"
    assert held == [0, 1, 2]
    rest = dict(found)
    assert "r0" not in rest, "a repository that has left comes a second time"
    assert [name for name, files in rest.items() if len(files) == 2] == ["r6", "r7"]
