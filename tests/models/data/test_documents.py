"""From a ``[data]`` section to a corpus and its documents."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from memstack_models.data.config import DataConfig
from memstack_models.data.corpora.folder import FolderCorpus
from memstack_models.data.corpora.stdlib import StdlibCorpus
from memstack_models.data.documents import SplitDocuments, anchored, corpus_of, fingerprint, replaced

from memstack import SPLITS, ConfigError, Corpus, CorpusError, Document, OptionsError, UnknownCorpusError
from memstack.contract.corpus import Split


class Empty(Corpus):
    """A corpus that promises documents and has none."""

    def documents(self, split: Split) -> Iterator[Document]:
        return iter(())


def configured(**given: object) -> DataConfig:
    """As a file or --set gives it: several patterns may be one text."""
    return DataConfig.model_validate(given)


def test_a_corpus_is_named_or_a_folder(corpus: Path) -> None:
    assert isinstance(corpus_of(DataConfig()), StdlibCorpus)
    assert isinstance(corpus_of(DataConfig(corpus=str(corpus))), FolderCorpus)
    assert isinstance(corpus_of(DataConfig(corpus="folder", options={"path": corpus})), FolderCorpus)


def test_a_registered_name_goes_before_a_folder_of_that_name(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus.parent)
    corpus.rename("python-stdlib")
    assert isinstance(corpus_of(DataConfig(corpus="python-stdlib")), StdlibCorpus)
    assert isinstance(corpus_of(DataConfig(corpus="./python-stdlib")), FolderCorpus)


def test_an_unknown_corpus_names_the_nearest_and_the_list(tmp_path: Path) -> None:
    nearest = (
        r"corpus 'python-stdlb' is no folder, and no corpus is called 'python-stdlb'; did you mean 'python-stdlib'\?"
    )
    with pytest.raises(CorpusError, match=nearest):
        corpus_of(DataConfig(corpus="python-stdlb"))
    with pytest.raises(UnknownCorpusError, match=r"is no folder.*registered: .*folder, .*python-stdlib"):
        corpus_of(DataConfig(corpus=str(tmp_path / "missing")))


def test_a_file_is_no_corpus(corpus: Path) -> None:
    with pytest.raises(CorpusError, match="is a file, not a folder"):
        corpus_of(DataConfig(corpus=str(corpus / "train" / "one.txt")))


def test_options_and_patterns_go_to_the_corpus(plain: Path) -> None:
    data = configured(corpus=str(plain), pattern="1?.txt", options={"shares": {"train": 1, "validation": 0, "test": 0}})
    assert len(list(SplitDocuments(corpus_of(data), "train"))) == 10
    with pytest.raises(OptionsError, match=r"corpus 'folder': shars is not a known key; did you mean 'shares'\?"):
        corpus_of(DataConfig(corpus=str(plain), options={"shars": {}}))
    with pytest.raises(OptionsError, match=r"corpus 'python-stdlib': pattern is not a known key"):
        corpus_of(configured(pattern="*.py"))
    with pytest.raises(ConfigError, match=r"data\.options\.path has to go"):
        corpus_of(DataConfig(corpus=str(plain), options={"path": str(plain)}))


def test_a_folder_is_found_from_another_folder(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus.parent)
    assert anchored(DataConfig(corpus="corpus")).corpus == str(corpus.resolve())
    assert anchored(DataConfig()) == DataConfig()
    assert anchored(DataConfig(corpus="missing")).corpus == "missing"


def test_another_corpus_takes_the_place_of_a_runs_own(corpus: Path, plain: Path) -> None:
    own = configured(corpus=str(corpus), pattern="*.txt", options={"shares": {"test": 2}}, vocab_size=300)
    other = replaced(own, str(plain), "validation")
    assert len(list(SplitDocuments(corpus_of(other), "validation"))) == 20
    assert (other.pattern, other.vocab_size) == (("*.txt",), 300)
    for split in SPLITS:
        assert len(list(SplitDocuments(corpus_of(replaced(own, str(corpus), split)), split))) == 1
    assert replaced(own, "python-stdlib", "test") == DataConfig(vocab_size=300)
    assert replaced(configured(pattern="*.rst"), str(plain), "test").pattern == ()


def test_a_split_without_documents_is_an_error() -> None:
    with pytest.raises(CorpusError, match="the corpus has no test documents"):
        list(SplitDocuments(Empty(), "test"))


def test_fingerprint_tells_names_texts_and_their_borders_apart() -> None:
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
