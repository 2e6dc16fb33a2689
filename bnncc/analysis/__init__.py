"""Facts about graphs: ranges of integers, lifetimes of values, cost of layers."""
