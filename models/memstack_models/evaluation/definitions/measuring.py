"""measure_definitions(): a checkpoint reads documents, and whatever it retrieves for a use is compared."""

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate

from torch import Tensor

from memstack import Document
from memstack.contract.errors import printable
from memstack_models.data.tokenizer import Tokenizer
from memstack_models.evaluation.definitions.counting import DefinitionCounter, Reach, counter
from memstack_models.evaluation.definitions.isabelle_uses import isabelle_uses
from memstack_models.evaluation.definitions.python_uses import python_uses
from memstack_models.evaluation.definitions.rates import DefinitionDocument, DefinitionsRecord, rates
from memstack_models.evaluation.definitions.uses import FindUses
from memstack_models.evaluation.retrievals import Reading, RetrievalReader
from memstack_models.training.config import RunConfig
from memstack_models.training.perplexity import Observe
from memstack_models.training.stream import Stream


class Language(StrEnum):
    """Whose names are looked for."""

    PYTHON = "python"
    ISABELLE = "isabelle"


FINDERS: dict[Language, FindUses] = {Language.PYTHON: python_uses, Language.ISABELLE: isabelle_uses}


class Definitions:
    """The uses of some documents, before and after they are read; ``tokens`` are theirs, cut to what is read."""

    def __init__(
        self,
        run: RunConfig,
        documents: Sequence[Document],
        tokens: Sequence[Tensor],
        tokenizer: Tokenizer,
        language: Language,
    ) -> None:
        self._run, self._language = run, language
        self._names, self._tokens = [printable(each.name) for each in documents], tokens
        self._unreadable = [""] * len(documents)
        reach = Reach(
            segment=run.train.segment,
            local=max(run.train.segment, run.model.cache),
            capacity=run.memory.capacity,
            neighbours=run.memory.neighbours,
        )
        lengths = tokenizer.token_bytes
        self._counters: list[DefinitionCounter] = []
        for i, (document, read) in enumerate(zip(documents, tokens, strict=True)):
            try:
                uses = FINDERS[language](document.text)
            except ValueError as error:
                uses, self._unreadable[i] = [], printable(str(error))
            ends = [*accumulate(lengths[read].tolist())]
            self._counters.append(counter(document.text, uses, ends, reach))

    @property
    def uses(self) -> int:
        """How many uses are counted."""
        return sum(len(each.uses) for each in self._counters)

    def reader(self, stream: Stream) -> tuple[Stream, Observe]:
        """Return the stream to evaluate in place of this one, and what is to observe it."""

        def take(reading: Reading) -> None:
            self._counters[reading.document].take(reading)

        reader = RetrievalReader(stream, take)
        return reader.stream, reader.observe

    def record(self, checkpoint: str) -> DefinitionsRecord:
        """Return what came of it, once all has been read."""
        run = self._run
        documents = zip(self._names, self._tokens, self._counters, self._unreadable, strict=True)
        return DefinitionsRecord(
            checkpoint=checkpoint,
            language=self._language,
            memory=f"{run.memory.backend}/{run.memory.capacity}",
            neighbours=run.memory.neighbours,
            local=max(run.train.segment, run.model.cache),
            documents=tuple(
                DefinitionDocument(
                    name=name, tokens=len(read), uses=len(each.uses), near=each.near, gone=each.gone, unreadable=why
                )
                for name, read, each, why in documents
            ),
            retrieved=rates([each.counts() for each in self._counters], run.model.memory_layers),
        )
