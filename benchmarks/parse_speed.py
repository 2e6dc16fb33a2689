"""How long it takes to parse, lay out and check sources, and to start.

    python benchmarks/parse_speed.py [--lines 10000] [--repeat 5]

The shortest of the repetitions counts: the others were disturbed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bnncc._resources import resource_dir
from bnncc.frontend.format import format_text
from bnncc.frontend.load import load_network
from bnncc.frontend.parse import parse_text

STAGE = """
block stage{n}(c) {{
  conv(c, 3) -> batch_norm -> sign
    -> conv(c, 3, stride = 2) -> max_pool(2) -> batch_norm -> sign
}}

network net{n}(width = 64) {{
  input image: u8[3, 32, 32]
  let y = image -> normalize(scale = 1/127.5, shift = -1)
    -> stage{n}(width) -> stage{n}(2*width) -> stage{n}(4*width)
    -> flatten -> dense(10) -> batch_norm -> output scores
}}
"""


def shortest(repeat: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    copies = -(-options.lines // STAGE.count("\n"))
    text = "".join(STAGE.format(n=number) for number in range(copies))
    lines, example = text.count("\n"), resource_dir("examples") / "cifar10_convnet.bnn"
    check = [sys.executable, "-m", "bnncc", "check", str(example)]
    rows = {
        f"parse {lines} lines": lambda: parse_text(text, "long.bnn"),
        f"format {lines} lines": lambda: format_text(text, "long.bnn"),
        f"load {Path(example).name}": lambda: load_network(example),
        f"bnncc check {Path(example).name}": lambda: subprocess.run(check, check=True, capture_output=True),
    }
    for name, work in rows.items():
        print(f"{name:<36} {shortest(options.repeat, work):8.3f} s")


if __name__ == "__main__":
    main()
