"""Everything that only a GPU can tell: whether each kernel is right there, and how long it takes."""
