"""The other engines, a file each; each imports its package when it is loaded, not before."""
