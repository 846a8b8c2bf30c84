"""The kit over the backends that have a store on a GPU, where one is at hand."""

from typing import Any, ClassVar

from helpers.card import on_card

from memstack.testing import MemoryContract


@on_card
class TestExact(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = {"device": "cuda", "first_pass": "none"}


@on_card
class TestExactFirstPass(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = {"device": "cuda", "first_pass": "bfloat16"}


@on_card
class TestExactFirstPass8Bits(MemoryContract):
    backend = "exact"
    options: ClassVar[Any] = {"device": "cuda", "first_pass": "int8", "dtype": "float16"}


@on_card
class TestBucketed(MemoryContract):
    backend = "bucketed"
    options: ClassVar[Any] = {"device": "cuda"}
