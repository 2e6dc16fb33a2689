"""Tuning: what runs fastest on this very machine, measured, and remembered."""
