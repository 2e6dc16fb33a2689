"""One kernel to be: its template arguments, its parameters and where their values come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bnncc.codegen.ctext import c_identifier
from bnncc.codegen.render import TemplateArgs
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.targets.cuda.artifact import Argument, ConstantArgument, ImagesArgument, ValueArgument
from bnncc.targets.cuda.cost import Work
from bnncc.targets.cuda.launch import LaunchGeometry

PLANE_BITS: Final = 128
C_TYPES: Final = {
    Elem.SIGN: "signed char",
    Elem.U8: "unsigned char",
    Elem.I8: "signed char",
    Elem.I32: "int",
    Elem.U32: "unsigned",
    Elem.F32: "float",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a kernel: its declaration in C, and its argument at launch."""

    declaration: str
    argument: Argument

    @property
    def name(self) -> str:
        """Return what the device function calls it."""
        return self.declaration.split()[-1].lstrip("*")

    @property
    def c_type(self) -> str:
        """Return its type in C, without qualifiers of the pointer."""
        return self.declaration.removesuffix(self.name).replace("__restrict__", "").strip()


IMAGES: Final = Parameter("int images", ImagesArgument())


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBody:
    """The structure that holds the device function of a layer, which makes one tile of its result.

    Args:
        name: of the structure.
        has_shared: whether it works in shared memory.
        is_early: whether ``fetch`` loads the first weights of a tile before ``tile`` is called.
        resident_blocks: that a multiprocessor should hold where the layer is a kernel; 0: no wish.
    """

    name: str
    has_shared: bool
    is_early: bool = False
    resident_blocks: int = 0


@dataclass(frozen=True, slots=True)
class KernelPlan:
    """A kernel before it is text.

    Args:
        args: of its template.
        parameters: of its device function, and so of its kernel.
        geometry: of its launch.
        body: what its template makes.
        tier: how it multiplies.
        work: what the cost model compares, for binary layers only.
    """

    args: TemplateArgs
    parameters: tuple[Parameter, ...]
    geometry: LaunchGeometry
    body: LayerBody
    tier: str = ""
    work: Work | None = None


@dataclass(frozen=True, slots=True)
class PackedForm:
    """How the packed signs of one type are found: the layout's function, vectors an image, their steps."""

    function: str
    vectors: int
    vector_step: int
    image_step: int

    @property
    def word_step(self) -> int:
        """Return the distance of two vectors of an image in words."""
        return self.vector_step * 4


def packed_form(tensor: TensorType) -> PackedForm:
    """Return how signs of ``tensor`` are found in memory."""
    height, width = tensor.spatial
    vectors = ceil_div(tensor.channels, PLANE_BITS) * height * width
    if tensor.layout is Layout.ROWS8X128:
        return PackedForm("bnncc_rows8x128", vectors, 8, 1)
    assert tensor.layout is Layout.PLANES128, f"the CUDA target has no layout {tensor.layout}"
    return PackedForm("bnncc_planes128", vectors, 1, vectors)


def reads(name: str, c_type: str, value: Value) -> Parameter:
    """Return the parameter that points to a value the kernel reads."""
    return Parameter(f"const {c_type} *__restrict__ {name}", ValueArgument(value.name))


def writes(c_type: str, value: Value) -> Parameter:
    """Return the parameter that points to the value the kernel makes, called ``y``."""
    return Parameter(f"{c_type} *__restrict__ y", ValueArgument(value.name))


def constant(name: str, c_type: str, program: KernelProgram, ref: ConstRef) -> Parameter:
    """Return the parameter that points to a constant of the blob."""
    return Parameter(
        f"const {c_type} *__restrict__ {name}", ConstantArgument(program.slice(ref).offset_bytes)
    )


def declarations(parameters: tuple[Parameter, ...]) -> str:
    """Return the parameter list of a kernel."""
    return ",\n    ".join(parameter.declaration for parameter in parameters)


def tile_declarations(parameters: tuple[Parameter, ...]) -> str:
    """Return the parameter list of a device function, after the place of the tile."""
    return ",\n        ".join(parameter.declaration for parameter in parameters)


def table_name(program: KernelProgram, name: str) -> str:
    """Return the start of the names of a kernel's tables: the kernel's name without the network's."""
    return name.removeprefix(kernel_prefix(program))


def layer_name(program: KernelProgram, name: str) -> str:
    """Return the name of the structure that holds the body of the kernel called ``name``."""
    return f"{table_name(program, name)}_layer"


def kernel_prefix(program: KernelProgram) -> str:
    """Return what every kernel name of the network starts with."""
    return f"bnncc_{c_identifier(program.graph.name)}_"


def ceil_div(a: int, b: int) -> int:
    """Return ``a / b`` rounded up."""
    return -(-a // b)
