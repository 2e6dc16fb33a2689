"""Speed of the generated C beside other engines, in one process."""
