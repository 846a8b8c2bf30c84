"""The first pass on a GPU: Triton kernels."""
