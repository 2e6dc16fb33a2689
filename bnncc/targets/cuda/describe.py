"""The comment above each kernel: where it comes from, what it computes, how it is cut, what it moves."""

from __future__ import annotations

from typing import assert_never

from bnncc.codegen.ctext import c_comment
from bnncc.diagnostics import NOWHERE
from bnncc.ir import kernel
from bnncc.ir.graph import Node, const_refs, operands
from bnncc.ir.types import ConstRef, TensorType
from bnncc.ir.window import Window
from bnncc.targets.cuda.artifact import PersistentLaunch, Traffic
from bnncc.targets.cuda.launch import LaunchGeometry


def kernel_comment(
    node: kernel.KernelOp, lines: tuple[str, ...], geometry: LaunchGeometry, traffic: Traffic
) -> str:
    """Return the comment of one kernel; ``lines`` say how it works."""
    work = " -> ".join((_operand_types(node), *_steps(node), _type(node.result.type)))
    unit = "block" if geometry.most_blocks is None else "tile"
    blocks = f"1 {unit}" if geometry.blocks_per_step == 1 else f"{geometry.blocks_per_step} {unit}s"
    grid = f"{blocks} for {_images(geometry.images_per_step)}"
    if geometry.grid_y > 1:
        grid += f", times {geometry.grid_y} groups of channels"
    if geometry.most_blocks is not None:
        grid += f"; at most {geometry.most_blocks} blocks a group"
    shared_bytes = geometry.shared_bytes + geometry.dynamic_shared_bytes
    shape = f"{grid}; {geometry.threads} threads; {shared_bytes} B of shared memory"
    moved = (
        f"An image: {traffic.read_bytes_per_image} B read, {traffic.written_bytes_per_image} B written; "
        f"{traffic.constant_bytes} B of constants"
    )
    title = f"{node.result.name}: {origin_text(node)}"
    return "\n".join(
        f"// {c_comment(line)}" for line in (title, f"  {work}", *(f"  {t}" for t in (*lines, shape, moved)))
    )


def persistent_comment(graph: kernel.KernelGraph, launch: PersistentLaunch) -> str:
    """Return the comment of the kernel of a whole network."""
    inputs = " and ".join(_type(value.type) for value in graph.inputs)
    outputs = " and ".join(_type(output.value.type) for output in graph.outputs)
    traffic = launch.traffic
    moved = f"{traffic.read_bytes_per_image} B read, {traffic.written_bytes_per_image} B written, through L2"
    lines = (
        f"{graph.name}: the whole network in one cooperative launch, for any number of resident blocks",
        f"  {inputs} -> {len(launch.phases)} layers -> {outputs}",
        f"  every block takes tiles of every layer; {launch.barriers} barriers of all blocks stand between",
        f"  {launch.threads} threads; {launch.shared_bytes} B of shared memory, what the largest layer needs",
        f"  An image: {moved}; {traffic.constant_bytes} B of constants",
    )
    return "\n".join(f"// {c_comment(line)}" for line in lines)


def phase_lines(node: kernel.KernelOp, tier: str, geometry: LaunchGeometry) -> tuple[str, ...]:
    """Return the comment of one layer in the kernel of a whole network: where it comes from, what it does."""
    how = f", {tier}" if tier else ""
    types = f"{_operand_types(node)} -> {_type(node.result.type)}"
    tiles = geometry.blocks_per_step * geometry.grid_y
    count = f"{tiles} {'tile' if tiles == 1 else 'tiles'} for {_images(geometry.images_per_step)}"
    written = source_line(node)
    lines = (
        f"{node.result.name}, {origin_text(node)}{f':  {written}' if written else ''}",
        f"{types}{how}, {count}",
    )
    return tuple(c_comment(line) for line in lines)


def source_line(node: Node) -> str:
    """Return the line of the user's source that ``node`` begins in, empty where its text is not at hand."""
    lines = node.span.source.text.splitlines()
    row = node.span.start.line
    return lines[row - 1].strip() if 0 < row <= len(lines) else ""


def origin_text(node: Node) -> str:
    """Return where ``node`` comes from, as comments say it."""
    return "made by the compiler" if node.span is NOWHERE else f"from {node.span}"


def traffic_of(program: kernel.KernelProgram, node: Node, *, is_tiled: bool = False) -> Traffic:
    """Return the bytes that a kernel of ``node`` has to move; the ones of weights need not be.

    Args:
        program: where everything lies.
        node: one call.
        is_tiled: whether the kernel reads the second form of the weights.
    """
    unread: tuple[ConstRef | None, ...] = ()
    if isinstance(node, kernel.XnorLayer):
        tiles = None if node.tiles is None else node.tiles.weight
        unread = (node.weight_ones, node.weight if is_tiled else tiles)
    constants = (ref for ref in dict.fromkeys(const_refs(node)) if ref not in unread)
    return Traffic(
        read_bytes_per_image=sum(
            program.buffer(value).bytes_per_image for value in dict.fromkeys(operands(node))
        ),
        written_bytes_per_image=program.buffer(node.result).bytes_per_image,
        constant_bytes=sum(program.slice(ref).size_bytes for ref in constants),
    )


def _images(count: int) -> str:
    return "an image" if count == 1 else f"{count} images"


def _type(tensor: TensorType) -> str:
    return f"{tensor.elem.value}[{', '.join(map(str, tensor.shape))}]"


def _operand_types(node: Node) -> str:
    return " and ".join(_type(value.type) for value in operands(node))


def _steps(node: kernel.KernelOp) -> tuple[str, ...]:
    """Return the steps of a layer; of an element-wise operation, its name."""
    match node:
        case kernel.XnorLayer():
            return (f"xnor {_window_text(node.window, node.x.type)}", *_store_steps(node.store))
        case kernel.IntegerLayer():
            return (
                f"{node.x.type.elem.value} x sign {_window_text(node.window, node.x.type)}",
                *_store_steps(node.store),
            )
        case kernel.FloatLayer():
            weights = "sign" if node.is_binary else "f32"
            return (f"f32 x {weights} {_window_text(node.window, node.x.type)}",)
        case _:
            return (_operation_name(type(node).__name__),)


def _operation_name(name: str) -> str:
    return "".join(f" {c.lower()}" if c.isupper() else c for c in name).strip()


def _store_steps(store: kernel.Store) -> tuple[str, ...]:
    match store:
        case kernel.StoreSigns(border=border, flips=flips, pool=pool, flips_after_pool=after):
            steps = ["threshold" if border is None else f"threshold ({border.classes} border classes)"]
            if flips is not None:
                steps.append("flip")
            if pool is not None:
                steps.append(f"max pool {pool.kernel[0]}x{pool.kernel[1]}")
            if after is not None:
                steps.append("flip")
            return tuple(steps)
        case kernel.StoreScores():
            return ("scale and shift",)
        case kernel.StoreSums():
            return ()
        case _:
            assert_never(store)


def is_dense(window: Window, x: TensorType) -> bool:
    """Return whether ``window`` covers the whole of ``x``, once."""
    return window == Window(kernel=x.spatial)


def _window_text(window: Window, x: TensorType) -> str:
    if is_dense(window, x):
        return "dense"
    text = f"conv {window.kernel[0]}x{window.kernel[1]}"
    if window.stride != (1, 1):
        text += f" stride {window.stride[0]}x{window.stride[1]}"
    if window.is_padded:
        text += f" padding {', '.join(map(str, window.padding))}"
    if window.dilation != (1, 1):
        text += f" dilation {window.dilation[0]}x{window.dilation[1]}"
    return text
