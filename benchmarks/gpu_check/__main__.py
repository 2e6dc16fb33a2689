"""``python -m benchmarks.gpu_check``: compare and time the generated kernels on the GPU of this machine."""

from __future__ import annotations

import sys

from benchmarks.gpu_check.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
