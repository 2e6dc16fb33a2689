"""``python -m benchmarks.cpu``: time the generated C beside other engines on this processor."""

from __future__ import annotations

import sys

from benchmarks.cpu.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
