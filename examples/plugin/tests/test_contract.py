from memstack.testing import MemoryContract


class TestLSH(MemoryContract):
    backend = "lsh"
