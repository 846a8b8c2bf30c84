import sysconfig
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest
from memstack_models.data.corpora import stdlib

from memstack import SPLITS, CorpusError, Document, create_corpus
from memstack.contract.corpus import Split

Fill = Callable[[dict[str, bytes]], None]
has_test_suite = (Path(sysconfig.get_path("stdlib")) / "test" / "test_asyncio").is_dir()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Return a function that fills a small standard library, in place of the interpreter's."""

    def fill(files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    monkeypatch.setattr(stdlib.sysconfig, "get_path", lambda name: str(tmp_path))
    return fill


def read(split: Split) -> list[Document]:
    return list(create_corpus("python-stdlib").documents(split))


def everything() -> dict[str, str]:
    """The texts by name of a library so small that some splits are empty."""
    found = {}
    for split in SPLITS:
        with suppress(CorpusError):
            found |= {document.name: document.text for document in read(split)}
    return found


LONG = b"x = 1\n" * 2000


@pytest.fixture(scope="module")
def real_stdlib() -> dict[str, list[Document]]:
    return {split: read(split) for split in SPLITS}


def test_stdlib_splits_are_sorted_and_share_no_document(real_stdlib: dict[str, list[Document]]) -> None:
    names = [[document.name for document in documents] for documents in real_stdlib.values()]
    assert all(part == sorted(part) for part in names)
    assert len(set().union(*names)) == sum(map(len, names))


def test_stdlib_code_and_its_tests_are_in_the_same_split(real_stdlib: dict[str, list[Document]]) -> None:
    splits = defaultdict(set)
    for split, documents in real_stdlib.items():
        for document in documents:
            splits[stdlib.family(document.name)].add(split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.skipif(not has_test_suite, reason="this interpreter comes without its test suite")
def test_stdlib_has_long_held_out_documents(real_stdlib: dict[str, list[Document]]) -> None:
    sizes = sorted(len(document.text) for document in real_stdlib["test"])
    assert len(sizes) >= 12
    assert sum(sizes) > 1_500_000
    assert sizes[-4] > 200_000


def test_stdlib_documents_are_long_enough(real_stdlib: dict[str, list[Document]]) -> None:
    texts = [document.text for documents in real_stdlib.values() for document in documents]
    assert min(len(text.encode()) for text in texts) >= stdlib.SMALLEST


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("argparse.py", "argparse"),
        ("asyncio/base_events.py", "asyncio"),
        ("xml/etree/ElementTree.py", "xml"),
        ("test/test_argparse.py", "test.test_argparse"),
        ("test/test_asyncio/test_events.py", "test.test_asyncio"),
        ("test/support/testcase.py", "test.support"),
        ("distutils/tests/test_log.py", "distutils.tests"),
        ("idlelib/idle_test/htest.py", "idlelib.idle_test"),
        ("ctypes/macholib/test/test_dyld.py", "ctypes.macholib.test"),
    ],
)
def test_a_package_a_module_and_their_tests_are_documents(path: str, document: str) -> None:
    assert stdlib.document_of(PurePosixPath(path)) == document


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("asyncio", "test.test_asyncio"),
        ("urllib", "test.test_urllib2_localnet"),
        ("_pydecimal", "test.test_decimal"),
        ("_pyio", "test.test_io"),
        ("collections", "_collections_abc"),
        ("multiprocessing", "test._test_multiprocessing"),
        ("datetime", "test.datetimetester"),
        ("distutils", "distutils.tests"),
        ("sqlite3", "test.test_sqlite3"),
        ("py_compile", "test.test_py_compile"),
        ("pydoc", "test.test_pydoc"),
    ],
)
def test_families_join_code_and_tests(one: str, other: str) -> None:
    assert stdlib.family(one) == stdlib.family(other)


def test_files_of_a_package_follow_each_other_after_their_paths(library: Fill) -> None:
    library({"pack/b.py": LONG, "pack/a.py": b"first = 1\r\n", "pack/sub/c.py": b"last = 1"})
    text = everything()["pack"]
    assert text.startswith("# pack/a.py\nfirst = 1\n\n# pack/b.py\nx = 1\n")
    assert text.endswith("x = 1\n\n# pack/sub/c.py\nlast = 1\n\n")


def test_small_foreign_generated_and_misencoded_files_are_left_out(library: Fill) -> None:
    library(
        {
            "large.py": LONG,
            "small.py": b"x = 1\n",
            "site-packages/other.py": LONG,
            "lib-dynload/other.py": LONG,
            "pack/__pycache__/cached.py": LONG,
            "pack/notes.txt": LONG,
            "_sysconfigdata__linux.py": b"# system configuration generated and used by the sysconfig module\n" + LONG,
            "encodings/cp437.py": b'"""Character mapping generated from CP437.TXT with gencodec.py."""\n' + LONG,
            "latin.py": b"# -*- coding: latin-1 -*-\n# \xe9\n" + LONG,
        }
    )
    assert list(everything()) == ["large"]


def test_an_interpreter_without_sources_is_an_error(library: Fill) -> None:
    library({})
    with pytest.raises(CorpusError, match="without its library's source"):
        read("train")
