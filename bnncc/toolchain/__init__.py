"""External compilers: finding them, running them, and a crash-safe cache of what they built."""
