"""The memory of a model: what is in sight, what is remembered, how it is read, saved and calibrated."""
