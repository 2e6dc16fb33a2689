"""What the driver refuses, in the user's words."""

from __future__ import annotations

import pytest

from bnncc.runtime.cuda.errors import LaunchFailure, OutOfDeviceMemory, explained, is_sticky, shown_bytes


@pytest.mark.parametrize(
    ("reason", "lost"),
    [
        ("cuStreamSynchronize failed: an illegal memory access was encountered", True),
        ("cuEventSynchronize failed: unspecified launch failure", True),
        ("cuMemAlloc failed: out of memory", False),
        ("cuLaunchKernel failed: too many resources requested for launch", False),
    ],
)
def test_what_loses_the_context(reason, lost):
    assert is_sticky(reason) is lost
    assert ("restart the process" in explained(reason)) is lost
    assert reason in explained(reason)


def test_what_to_do_about_memory():
    assert "fewer images" in explained("cuGraphInstantiate failed: out of memory")
    text = str(OutOfDeviceMemory("the workspace", 3 << 30, 5 << 20, 80 << 30))
    assert "no room for the workspace" in text
    assert "3.0 GiB were asked for, 5.0 MiB of 80.0 GiB are free" in text


def test_a_launch_names_kernel_and_layer():
    failure = LaunchFailure("bnncc_net_conv1", "net.bnn:3:5", "grid (1, 1, 1) and 32 threads", "no")
    assert str(failure).startswith(
        "kernel 'bnncc_net_conv1' (net.bnn:3:5) with grid (1, 1, 1) and 32 threads"
    )


@pytest.mark.parametrize(
    ("count", "expected"), [(7, "7 bytes"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (3 << 29, "1.5 GiB")]
)
def test_bytes_are_shown(count, expected):
    assert shown_bytes(count) == expected
