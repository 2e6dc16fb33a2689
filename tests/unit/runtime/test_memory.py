"""The peak of resident memory notices memory that is written to and given back."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.runtime.memory import peak_bytes, restart_peak


def test_the_peak_is_that_of_what_was_touched():
    before = restart_peak()
    if before == 0:
        pytest.skip("this system does not tell the peak of resident memory")
    held = np.ones(64 << 20, np.uint8)
    assert 60 << 20 <= peak_bytes() - before <= 80 << 20
    del held
    assert peak_bytes() - before >= 60 << 20
    assert restart_peak() < before + (32 << 20)
    assert peak_bytes() < before + (32 << 20)
