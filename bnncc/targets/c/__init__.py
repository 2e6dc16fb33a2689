"""The C target: one readable C11 translation unit a network, for any CPU or for AVX-512."""
