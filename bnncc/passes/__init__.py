"""Passes: pure functions from graph to graph, one file each; `bnncc.passes.pipeline` is the only list."""
