"""Text from typed arguments: the template environment, C literals, and the package file."""
