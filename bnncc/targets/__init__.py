"""Code generation: kernel programs to readable source, one folder a target."""
