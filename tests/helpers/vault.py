"""A backend that needs a secret: exact search behind a key, as a server's would be."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from memstack_exact.search import ExactMemory
from pydantic import SecretStr

from memstack import BackendSpec, MemoryShape, hookimpl
from memstack.plugins.config import Frozen
from memstack.plugins.registry import registry

SECRET = "s3cr3t-of-the-vault"
VARIABLE = "MEMSTACK_SECRET_MY_VAULT_API_KEY"


class Proxy(Frozen):
    """Options inside of options."""

    host: str = "localhost"
    password: SecretStr | None = None


class VaultMemory(ExactMemory):
    """Opens for one key only."""

    class Options(ExactMemory.Options):
        api_key: SecretStr
        proxy: Proxy = Proxy()
        tokens: tuple[SecretStr, ...] = ()
        effort: int = 1

    def __init__(self, shape: MemoryShape, options: Options) -> None:
        super().__init__(shape, options)
        if options.api_key.get_secret_value() != SECRET:
            raise PermissionError("the vault stays shut")


SPEC = BackendSpec(
    name="my-vault",
    target="helpers.vault:VaultMemory",
    summary="a test",
    exact=True,
    search_space={"effort": (1, 2)},
)


class Plugin:
    """The plugin that offers it."""

    @hookimpl
    def memstack_backends(self) -> Sequence[BackendSpec]:
        return [SPEC]


@contextmanager
def installed() -> Generator[None]:
    """The plugin is registered in this process's registry; after that, the registry is made anew."""
    registry().register(Plugin(), "vault")
    try:
        yield
    finally:
        registry.cache_clear()
