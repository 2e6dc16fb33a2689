"""What the runtime says when a kernel has failed; alone in its process, whose context is lost then."""

from __future__ import annotations

import pytest

from bnncc.diagnostics import PlatformError
from tests.cuda_programs import inputs_of
from tests.fake_driver.driver import attached
from tests.fake_driver.runtime_networks import load_small, open_session, small_program


def test_after_a_kernel_failed_the_process_has_to_restart():
    fake = attached()
    session = open_session(fake)
    network = load_small(session, graph=False)
    inputs = inputs_of(small_program(), 2)
    fake.fail("kernel@1=ILLEGAL_ADDRESS")
    with pytest.raises(
        PlatformError, match=r"illegal memory access.*restart the process.*CUDA_LAUNCH_BLOCKING"
    ):
        network.run(inputs)
    fake.fail("")
    with pytest.raises(PlatformError, match=r"lost before .*illegal memory access.*restart the process"):
        network.run(inputs)
    network.close()
    session.close()
