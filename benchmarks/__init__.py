"""memstack's benchmarks, for asv; see README.md. (asv wants a package.)"""
