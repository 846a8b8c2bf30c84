"""The first pass on a CPU: keys in eight bits, compiled from C++."""
