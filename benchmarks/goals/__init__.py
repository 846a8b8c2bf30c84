"""Scripts that each print measured figures beside their goals."""
