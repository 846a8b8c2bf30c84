"""The contract: what a memory is asked and answers, and the errors it raises."""
