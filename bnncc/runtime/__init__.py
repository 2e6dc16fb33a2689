"""Running artifacts: on the CPU, on a GPU through PyCUDA, on the PTX executor."""
