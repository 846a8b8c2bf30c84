"""Sizes rounded up: kernels and compiled programs take blocks whose sizes are powers of two."""


def next_power_of_2(n: int) -> int:
    """Return the smallest power of two that is no less than n, which is at least 1."""
    return 1 << (n - 1).bit_length()
