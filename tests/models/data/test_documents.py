import gzip
import hashlib
import json
import sysconfig
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest
from helpers.shared_data import FOLDER, needs_shared_data
from memstack_models.data import stdlib
from memstack_models.data.documents import Document, fingerprint, load_documents
from memstack_models.data.errors import CorpusError

SPLITS = ("train", "validation", "test")
has_test_suite = (Path(sysconfig.get_path("stdlib")) / "test" / "test_asyncio").is_dir()


@pytest.fixture
def corpus(tmp_path):
    """A folder with one sound document per split."""
    for split in SPLITS:
        (tmp_path / "corpus" / split).mkdir(parents=True)
        (tmp_path / "corpus" / split / "one.txt").write_text(f"the {split} document\n")
    return tmp_path / "corpus"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Return a function that fills a small standard library, in place of the interpreter's."""

    def fill(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    monkeypatch.setattr(stdlib.sysconfig, "get_path", lambda name: str(tmp_path))
    return fill


def everything():
    return dict(pair for split in SPLITS for pair in stdlib.read(split))


LONG = b"x = 1\n" * 2000


@pytest.fixture(scope="module")
def real_stdlib():
    return {split: load_documents("python-stdlib", split) for split in SPLITS}


def test_stdlib_splits_are_sorted_and_share_no_document(real_stdlib):
    names = [[document.name for document in documents] for documents in real_stdlib.values()]
    assert all(part == sorted(part) for part in names)
    assert len(set().union(*names)) == sum(map(len, names))


def test_stdlib_code_and_its_tests_are_in_the_same_split(real_stdlib):
    splits = defaultdict(set)
    for split, documents in real_stdlib.items():
        for document in documents:
            splits[stdlib.family(document.name)].add(split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.skipif(not has_test_suite, reason="this interpreter comes without its test suite")
def test_stdlib_has_long_held_out_documents(real_stdlib):
    sizes = sorted(len(document.text) for document in real_stdlib["test"])
    assert len(sizes) >= 12
    assert sum(sizes) > 1_500_000
    assert sizes[-4] > 200_000


def test_stdlib_documents_are_long_enough(real_stdlib):
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
def test_a_package_a_module_and_their_tests_are_documents(path, document):
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
def test_families_join_code_and_tests(one, other):
    assert stdlib.family(one) == stdlib.family(other)


def test_files_of_a_package_follow_each_other_after_their_paths(library):
    library({"pack/b.py": LONG, "pack/a.py": b"first = 1\r\n", "pack/sub/c.py": b"last = 1"})
    text = everything()["pack"]
    assert text.startswith("# pack/a.py\nfirst = 1\n\n# pack/b.py\nx = 1\n")
    assert text.endswith("x = 1\n\n# pack/sub/c.py\nlast = 1\n\n")


def test_small_foreign_generated_and_misencoded_files_are_left_out(library):
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


def test_an_interpreter_without_sources_is_an_error(library):
    library({})
    with pytest.raises(CorpusError, match="without its library's source"):
        load_documents("python-stdlib", "train")


def test_folder_reads_plain_and_compressed_files_at_any_depth(corpus):
    (corpus / "train" / "deep" / "er").mkdir(parents=True)
    (corpus / "train" / "deep" / "er" / "two.md.gz").write_bytes(gzip.compress("zwei\r\nüber\n".encode()))
    assert load_documents(str(corpus), "train") == (
        Document("deep/er/two.md", "zwei\r\nüber\n"),
        Document("one.txt", "the train document\n"),
    )


def test_folder_ignores_hidden_files(corpus):
    (corpus / "train" / ".git").mkdir()
    (corpus / "train" / ".git" / "config").write_bytes(b"\xff")
    (corpus / "train" / ".DS_Store").write_bytes(b"\xff")
    assert [document.name for document in load_documents(str(corpus), "train")] == ["one.txt"]


def test_a_relative_folder_starts_at_the_current_directory(corpus, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    assert load_documents("corpus", "test") == load_documents(str(corpus), "test")


def bad_byte(train):
    (train / "bad.txt").write_bytes(b"abc\xff")


def bad_byte_compressed(train):
    (train / "bad.txt.gz").write_bytes(gzip.compress(b"abcde\xff"))


def truncated_gzip(train):
    (train / "bad.gz").write_bytes(gzip.compress(b"abcde" * 100)[:-9])


def not_gzip(train):
    (train / "bad.gz").write_bytes(b"plain text")


def flipped_gzip(train):
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    content[len(content) // 2] ^= 0xFF
    (train / "bad.gz").write_bytes(content)


def empty_file(train):
    (train / "bad.txt").write_bytes(b"")


def blank_file(train):
    (train / "bad.txt").write_bytes(b" \n\n")


def copy_of_one(train):
    (train / "one.txt.gz").write_bytes(gzip.compress(b"the same name"))


def no_documents(train):
    (train / "one.txt").unlink()


def no_split(train):
    no_documents(train)
    train.rmdir()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (bad_byte, r"train/bad\.txt is not UTF-8 at byte 3: convert it"),
        (bad_byte_compressed, r"train/bad\.txt\.gz is not UTF-8 at byte 5: convert it"),
        (truncated_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (not_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (flipped_gzip, r"train/bad\.gz is not a sound gzip file .*: compress it again"),
        (empty_file, r"train/bad\.txt is empty: fill it"),
        (blank_file, r"train/bad\.txt is empty: fill it"),
        (copy_of_one, r"two documents are called one\.txt, .*: take one of them out"),
        (no_documents, r"train holds no documents: put UTF-8 text files into it"),
        (no_split, r"corpus has no folder train/: put its train documents"),
    ],
)
def test_a_bad_folder_is_one_line_with_the_mend(corpus, break_it, message):
    break_it(corpus / "train")
    with pytest.raises(CorpusError, match=message) as error:
        load_documents(str(corpus), "train")
    assert "\n" not in str(error.value)


def test_an_unknown_corpus_offers_the_built_in_one(tmp_path):
    with pytest.raises(CorpusError, match=r"corpus 'python-stdlb' is no folder; did you mean 'python-stdlib'\?"):
        load_documents("python-stdlb", "train")
    with pytest.raises(CorpusError, match=r"is no folder .*built in: python-stdlib"):
        load_documents(str(tmp_path / "missing"), "train")


def test_a_file_is_no_corpus(corpus):
    with pytest.raises(CorpusError, match="is a file, not a folder"):
        load_documents(str(corpus / "train" / "one.txt"), "train")


def test_fingerprint_tells_names_texts_and_their_borders_apart():
    variants = [
        (Document("a", "bc"),),
        (Document("ab", "c"),),
        (Document("a", "bd"),),
        (Document("a", "b"), Document("c", "")),
        (Document("a", "bc"), Document("a", "bc")),
        (),
    ]
    assert len({fingerprint(documents) for documents in variants}) == len(variants)
    assert fingerprint([Document("a", "bc")]) == fingerprint((Document("a", "bc"),))


@needs_shared_data
@pytest.mark.parametrize("kind", ["books", "isabelle", "web"])
def test_real_documents_arrive_byte_by_byte(kind):
    lines = map(json.loads, (FOLDER / "index.jsonl").read_text(encoding="utf-8").splitlines())
    expected = {f"{d['slug']}.txt": d["sha256"] for d in lines if d["kind"] == kind and d["split"] == "validation"}
    documents = load_documents(str(FOLDER / kind), "validation")
    assert {d.name: hashlib.sha256(d.text.encode()).hexdigest() for d in documents} == expected
