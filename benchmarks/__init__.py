"""memstack's benchmarks: the asv suite, and the goals that scripts measure; see README.md."""
