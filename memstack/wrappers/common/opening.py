"""open_store(): a store as somebody filled it, to be read by many rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memstack.contract.memory import Memory
from memstack.contract.shape import MemoryShape
from memstack.plugins.config import StoreConfig
from memstack.plugins.registry import registry
from memstack.wrappers.common.beside import BesideMemory
from memstack.wrappers.common.files import Pieces, check_whole
from memstack.wrappers.common.memory import CommonMemory
from memstack.wrappers.common.places import Kept, Place, keeper, place_of
from memstack.wrappers.common.records import Contents, Source, contents_of


@dataclass(frozen=True)
class OpenStore:
    """A store that can be searched."""

    config: StoreConfig
    contents: Contents
    memories: Mapping[int, Memory]
    """By layer, of one row each."""

    def beside(self, layer: int, own: Memory) -> Memory:
        """Return what a layer searches: its own memory and the store; with ``alone`` in the configuration, that alone.

        A layer that the store has nothing of keeps its own.
        """
        if layer not in self.memories:
            return own
        common = CommonMemory(self.memories[layer], own.shape.rows)
        return common if self.config.alone else BesideMemory(own, common)

    def source(self, position: int) -> Source | None:
        """Return which token of which document an entry was made of, by its position in an answer.

        None for positions that are a row's own.
        """
        return self.contents.documents.source(position) if position < self.contents.entries else None


def open_store(config: StoreConfig, digest: str, backend: str, options: Mapping[str, Any]) -> OpenStore:
    """Open a store that ``build-store`` has filled, for a model whose weights have this digest.

    Its entries are searched by the backend that the configuration names or, where it names none, by what keeps them,
    or by ``backend`` with ``options``, into which they are read.

    Raises:
        StateError: there is no store, it is not finished or damaged, or it is another model's.
        MemoryUnavailableError: a server that keeps it cannot be reached.
        ConfigError, OptionsError: the place or an option is none.
    """
    place = place_of(config.place)
    by = config.backend
    contents = contents_of(place.log(by, config.options).read(), place.where)
    contents = check_whole(contents, place.where, digest)
    if contents.header.backend is not None:
        kept = Kept(place, keeper(by or contents.header.backend), config.options, contents.header, contents.entries)
        return OpenStore(config, contents, kept.memories)
    given = {**({} if by else options), **config.options}
    return OpenStore(config, contents, _read(place, contents, by or backend, given))


def _read(place: Place, contents: Contents, backend: str, options: Mapping[str, Any]) -> dict[int, Memory]:
    """Read the entries of a folder into a backend's memories."""
    assert place.folder is not None
    pieces, memories = Pieces(place.folder, contents.header.dtype), dict[int, Memory]()
    for layer, shape in contents.header.layers.items():
        size = MemoryShape(rows=1, **shape.model_dump(), capacity=contents.entries)
        memories[layer] = registry().create(backend, size, **options)
        pieces.load(layer, shape, contents.entries, memories[layer])
    return memories
