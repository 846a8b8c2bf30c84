"""The paper's tables and figures as grids of runs: planned, made once, compared with what was published."""
