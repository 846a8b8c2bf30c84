"""QdrantMemory and QdrantGraphMemory: entries in a Qdrant cluster, or in a folder by the same engine as a library."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from memstack import PLACEMENT, MemoryShape, RemoteMemory
from memstack.store.remote import Insistence, Notes, RemoteStore
from memstack_qdrant.address import address, api_key
from memstack_qdrant.graph import Graph

NAME = r"^[A-Za-z0-9_-]{1,100}$"


class QdrantMemory(RemoteMemory):
    """Each memory has a collection of its own, with a name of its own, which is removed with it unless it is kept.

    All entries of a memory are compared with a query (``exact=true`` in Qdrant's words); there is no graph.
    """

    class Options(RemoteMemory.Options):
        url: Annotated[str | None, PLACEMENT] = None
        """The cluster's gRPC, such as ``http://localhost:6334``, or ``https://`` for TLS."""
        path: Annotated[Path | None, PLACEMENT] = None
        """Instead of a cluster: a folder in which the engine keeps the entries, as a library of this process. They are
        gone with the memory, unless they are kept; what a process that was killed has left there, the next one
        removes."""
        api_key_env: Annotated[str | None, PLACEMENT] = None
        """The environment variable that holds the cluster's API key. The key itself is written nowhere."""
        collection: Annotated[str, Field(pattern=NAME), PLACEMENT] = "memstack"
        """What the names of the collections begin with."""
        kept: Annotated[str | None, Field(pattern=NAME), PLACEMENT] = None
        """The whole name of the collection, or of its folder below ``path``, which then outlives the memory and is
        found again by it: ``memstack build-store`` gives it. That alone does not say what is in it, so that a memory
        over it begins empty, until ``resume``."""

        @field_validator("url")
        @classmethod
        def _readable(cls, url: str | None) -> str | None:
            if url is not None:
                address(url)
            return url

        @field_validator("path")
        @classmethod
        def _usable(cls, path: Path | None) -> Path | None:
            if path is not None and not path.is_dir():
                raise ValueError(f"path {str(path)!r} is no folder: make it, or name another one")
            return path

        @model_validator(mode="after")
        def _placed(self) -> "QdrantMemory.Options":
            if (self.url is None) == (self.path is None):
                given = "neither" if self.url is None else "both"
                raise ValueError(f"give url, of a cluster, or path, a folder on this machine: got {given}")
            if self.api_key_env is not None and self.url is None:
                raise ValueError("api_key_env is for a cluster, and path is a folder: leave it out")
            api_key(self.api_key_env)
            return self

        @property
        def graph(self) -> Graph | None:
            """The graph to build; None, as here, for none."""
            return None

    exact = True

    @classmethod
    def connect(cls, shape: MemoryShape, options: Any) -> RemoteStore:
        # What each needs is imported when it is used: a cluster's client needs no engine, and the engine no client.
        if options.path is not None:
            from memstack_qdrant.embedded import EmbeddedStore

            return EmbeddedStore(options.path, shape, options.dtype, options.graph, options.kept)
        from memstack_qdrant.cluster import ClusterStore

        key = api_key(options.api_key_env)
        at, graph = address(options.url), options.graph
        return ClusterStore(at, key, shape, options.dtype, options.collection, graph, options.kept)

    @classmethod
    def notes(cls, options: Any) -> Notes:
        """Return the notes of a store on a cluster: they lie in a collection of its very name."""
        from memstack_qdrant.notes import ClusterNotes

        insistence = Insistence(options.timeout, options.patience)
        return ClusterNotes(address(options.url), api_key(options.api_key_env), options.kept, insistence)


class QdrantGraphMemory(QdrantMemory):
    """A graph over the keys of all memories of one object: for few memories with very many entries each.

    It is built in the background by a cluster; in a folder, by the add that brings as many entries as a third of what
    there is. What is not in it yet is compared with every query, so nothing waits to be found.
    """

    class Options(QdrantMemory.Options):
        graph_from: int = Field(default=20_000, ge=1, le=1 << 30)
        """From how many entries on the engine builds a graph; of fewer, all are compared with a query."""
        m: int = Field(default=16, ge=4, le=128)
        """Links per node."""
        ef_construction: int = Field(default=128, ge=4, le=4096)
        """Candidates looked at while a node is linked; more is slower to build and more accurate."""
        ef_search: int = Field(default=64, ge=1, le=1 << 16)
        """Candidates looked at per query, never fewer than k; more is slower and more accurate."""

        @property
        def graph(self) -> Graph:
            return Graph(self.graph_from, self.m, self.ef_construction, self.ef_search)

    exact = False
