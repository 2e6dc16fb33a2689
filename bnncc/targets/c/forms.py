"""The forms of the generated C, and the machines that ``--march`` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from bnncc.ir.kernel import IntegerForm, Packing, StorageForm
from bnncc.ir.types import Layout

OUTPUTS_PER_PANEL: Final = 16
"""Every form computes 16 neighbouring outputs at once: 16 packed bits come out."""


class CForm(Enum):
    """The instructions that the kernels are written for.

    ``PORTABLE``: 64-bit words and the compiler's popcount. ``AVX2``: look-ups by byte shuffles.
    ``AVX512``: VPOPCNTDQ and VNNI. ``NEON``: of AArch64. ``SVE``: of AArch64, vectors of any length.
    """

    PORTABLE = "portable"
    AVX2 = "avx2"
    AVX512 = "avx512"
    NEON = "neon"
    SVE = "sve"

    @property
    def word_bytes(self) -> int:
        """Return the bytes of activations that one step of a binary product takes."""
        return 8 if self is CForm.PORTABLE else 4

    @property
    def least_machine(self) -> str:
        """Return the name of the least of `MACHINES` that runs the kernels."""
        return {
            CForm.PORTABLE: "generic",
            CForm.AVX2: "x86-64-v3",
            CForm.AVX512: "x86-64-v4",
            CForm.NEON: "aarch64",
            CForm.SVE: "aarch64-sve",
        }[self]

    @property
    def architecture(self) -> str | None:
        """Return the architecture that the kernels are for, as ``uname -m`` calls it; None: any."""
        return {
            CForm.PORTABLE: None,
            CForm.AVX2: "x86_64",
            CForm.AVX512: "x86_64",
            CForm.NEON: "aarch64",
            CForm.SVE: "aarch64",
        }[self]

    @property
    def cpu_flag(self) -> str:
        """Return the bit of ``bnncc_cpu()`` that a processor for the kernels has; empty where all have it."""
        return {
            CForm.PORTABLE: "",
            CForm.AVX2: "BNNCC_CPU_AVX2",
            CForm.AVX512: "BNNCC_CPU_AVX512",
            CForm.NEON: "",
            CForm.SVE: "BNNCC_CPU_SVE",
        }[self]

    @property
    def headers(self) -> tuple[str, ...]:
        """Return the files of ``templates/include/c`` with the instructions, in order."""
        cpu = ("cpu.h",) if self.cpu_flag else ()
        neon = ("neon.h",) if self.architecture == "aarch64" else ()
        return (*cpu, "taps.h", *neon, f"lanes_{self.value}.h")

    @property
    def storage(self) -> StorageForm:
        """Return the layouts the kernels work on."""
        return StorageForm(
            spatial=Layout.NHWC_WORDS64,
            rows=Layout.NHWC_WORDS64,
            packing=Packing(
                lanes=OUTPUTS_PER_PANEL,
                vector_bits=8 * self.word_bytes,
                is_by_byte=self is CForm.AVX2,
            ),
            integer_lanes=OUTPUTS_PER_PANEL,
            dense_integers=IntegerForm.FIFTEENS if self is CForm.AVX512 else IntegerForm.BYTES,
            images_per_group=1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CMachine:
    """What the C is compiled for: a form of the kernels, and the compiler flags that go with it."""

    name: str
    form: CForm
    flags: tuple[str, ...] = ()


_AVX512_FLAGS: Final = ("-march=x86-64-v4", "-mavx512vpopcntdq", "-mavx512vnni")
_AVX512_MACROS: Final = ("F", "BW", "DQ", "VL", "CD", "VPOPCNTDQ", "VNNI")

MACHINES: Final[Mapping[str, CMachine]] = MappingProxyType(
    {
        machine.name: machine
        for machine in (
            CMachine(name="generic", form=CForm.PORTABLE),
            CMachine(name="x86-64-v2", form=CForm.PORTABLE, flags=("-march=x86-64-v2",)),
            CMachine(name="x86-64-v3", form=CForm.AVX2, flags=("-march=x86-64-v3",)),
            CMachine(name="x86-64-v4", form=CForm.AVX512, flags=_AVX512_FLAGS),
            CMachine(name="aarch64", form=CForm.NEON),
            CMachine(name="aarch64-sve", form=CForm.SVE, flags=("-march=armv8-a+sve",)),
        )
    }
)
"""The machines by the name that ``--march`` takes; ``native`` is found with `machine_of_macros`.

``x86-64-v4`` here includes VPOPCNTDQ and VNNI: Intel from Ice Lake, AMD from Zen 4 on.
"""


DISPATCH: Final[Mapping[str, str]] = MappingProxyType(
    {"x86_64": "x86-64-v4,x86-64-v3,generic", "aarch64": "aarch64,aarch64-sve"}
)
"""What ``--march dispatch`` is on an architecture, the form preferred first.

SVE comes after NEON: which is faster depends on the length of vectors, and has not been measured.
"""


def machines_called(names: str) -> tuple[CMachine, ...]:
    """Return the machines of a comma-separated list; empty where a name is unknown or a form comes twice."""
    found = [MACHINES.get(name.strip()) for name in names.split(",")]
    known = tuple(machine for machine in found if machine is not None)
    is_sound = len(known) == len(found) == len({machine.form for machine in known})
    return known if is_sound else ()


def joined_names(machines: tuple[CMachine, ...]) -> str:
    """Return what `machines_called` takes."""
    return ",".join(machine.name for machine in machines)


def macro_names(macros: str) -> set[str]:
    """Return the names of the macros in what ``-dM -E`` printed."""
    return {words[1] for line in macros.splitlines() if len(words := line.split()) > 1}


def machine_of_macros(macros: str) -> CMachine:
    """Return the best of `MACHINES` for a compiler whose ``-march=native -dM -E`` printed ``macros``."""
    defined = macro_names(macros)
    if all(f"__AVX512{name}__" in defined for name in _AVX512_MACROS):
        return MACHINES["x86-64-v4"]
    if {"__AVX2__", "__BMI2__", "__FMA__"} <= defined:
        return MACHINES["x86-64-v3"]
    if {"__POPCNT__", "__SSE4_2__"} <= defined:
        return MACHINES["x86-64-v2"]
    if {"__aarch64__", "__ARM_NEON"} <= defined:
        return MACHINES["aarch64"]
    return MACHINES["generic"]
