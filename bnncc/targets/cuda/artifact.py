"""What the CUDA target gives the toolchain and the runtime: source text, and launches as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from bnncc.ir.graph import Output
from bnncc.ir.kernel import Buffer
from bnncc.ir.types import Value
from bnncc.targets.cuda.launch import LaunchGeometry
from bnncc.targets.target import SourceFile
from bnncc.toolchain.gate import BlockShape


@dataclass(frozen=True, slots=True)
class ValueArgument:
    """A pointer to the buffer of a value."""

    value: str


@dataclass(frozen=True, slots=True)
class ConstantArgument:
    """A pointer into the weights blob."""

    offset_bytes: int


@dataclass(frozen=True, slots=True)
class ImagesArgument:
    """The number of images, an int."""


@dataclass(frozen=True, slots=True)
class BarrierArgument:
    """A pointer to the counter of the barriers of all blocks: zero once, then kept from launch to launch.

    Runs that overlap in time have one each.
    """


BARRIER_BYTES: Final = 128
"""Of the counter and what shares its line of the cache."""

Argument: TypeAlias = ValueArgument | ConstantArgument | ImagesArgument | BarrierArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes that a kernel has to move at least: what it reads and writes an image, and constants once."""

    read_bytes_per_image: int
    written_bytes_per_image: int
    constant_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel call of the program.

    Args:
        kernel: name of the function in the source.
        node: name of the value it makes.
        origin: the place in the user's source.
        arguments: in the order of the kernel's parameters.
        geometry: grid and block.
        traffic: bytes moved.
        tier: how it multiplies; empty where it multiplies nothing.
    """

    kernel: str
    node: str
    origin: str
    arguments: tuple[Argument, ...]
    geometry: LaunchGeometry
    traffic: Traffic
    tier: str = ""

    @property
    def written(self) -> frozenset[str]:
        """Return the names of the values that it writes."""
        return frozenset((self.node,))

    @property
    def block_shape(self) -> BlockShape:
        """Return what decides how many blocks a multiprocessor holds, besides the machine code."""
        geometry = self.geometry
        return BlockShape(threads=geometry.threads, dynamic_shared_bytes=geometry.dynamic_shared_bytes)

    @property
    def tiers(self) -> frozenset[str]:
        """Return how it multiplies; nothing where it does not."""
        return frozenset((self.tier,) if self.tier else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class TierUse:
    """When a tensor-core kernel runs on one architecture.

    Args:
        arch: the architecture.
        tier: of the kernel.
        from_images: the smallest batch it takes; None: it is never better there.
        reason: for the report.
    """

    arch: str
    tier: str
    from_images: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Another kernel of a node: replaces those before it on some architectures, from some batch size on."""

    launch: Launch
    uses: tuple[TierUse, ...]

    def takes(self, arch: str, images: int) -> bool:
        """Return whether it runs a batch of ``images`` on ``arch``."""
        return any(
            use.arch == arch and use.from_images is not None and use.from_images <= images
            for use in self.uses
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentPhase:
    """One layer of a persistent kernel.

    Args:
        node: the value it makes.
        origin: its place in the user's source.
        tier: how it multiplies.
        geometry: its tiles; blocks and grid are those of the launch.
    """

    node: str
    origin: str
    tier: str
    geometry: LaunchGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistentLaunch:
    """All layers of the network in one cooperative launch; right for any number of blocks, all resident.

    Args:
        kernel: name of the function in the source.
        arguments: in the order of the kernel's parameters.
        threads: of a block.
        shared_bytes: static shared memory of a block.
        phases: its layers, in order.
        barriers: of all blocks, in one launch.
        traffic: bytes moved.
    """

    kernel: str
    arguments: tuple[Argument, ...]
    threads: int
    shared_bytes: int
    phases: tuple[PersistentPhase, ...]
    barriers: int
    traffic: Traffic

    @property
    def origin(self) -> str:
        """Return the place of its first layer in the user's source."""
        return self.phases[0].origin

    @property
    def written(self) -> frozenset[str]:
        """Return the names of the values that it writes."""
        return frozenset(phase.node for phase in self.phases)

    @property
    def block_shape(self) -> BlockShape:
        """Return what decides how many blocks a multiprocessor holds, besides the machine code."""
        return BlockShape(threads=self.threads)

    def most_tiles(self, images: int) -> int:
        """Return the tiles of its largest layer: blocks beyond them only make barriers longer."""
        return max(phase.geometry.tiles(images) for phase in self.phases)

    def blocks(self, images: int, resident: int) -> int:
        """Return how many blocks to launch for ``images``, of ``resident`` that the device holds at once."""
        return max(1, min(resident, self.most_tiles(images)))

    @property
    def tiers(self) -> frozenset[str]:
        """Return how its layers multiply."""
        return frozenset(phase.tier for phase in self.phases if phase.tier)


@dataclass(frozen=True, slots=True, kw_only=True)
class FuseUse:
    """When a network is one launch on one architecture.

    Args:
        arch: the architecture.
        kernel: the persistent kernel it has there; None: never.
        to_images: the largest batch it takes; None: every batch.
        reason: for the report.
    """

    arch: str
    kernel: str | None
    to_images: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaArtifact:
    """A network as CUDA source and the launches that run it.

    Args:
        name: of the network.
        files: the generated source, one file.
        launches: in order; they run on every architecture that their kernels are compiled for.
        variants: what runs instead where it is faster.
        persistent: kernels of the whole network, of which an architecture may have one.
        fuse_uses: who has which of them, for which batches, and why.
        tier_uses: of each binary layer, by the name of its value: who takes which tier, and why.
        inputs: values the caller gives.
        outputs: values the caller gets, under his names.
        buffers: where every value lies.
        images_per_group: the batch is stored in whole groups of this many images.
        workspace_bytes_per_image: of the workspace; it holds whole groups.
        blob_bytes: length of the weights blob, which is uploaded once.
    """

    name: str
    files: tuple[SourceFile, ...]
    launches: tuple[Launch, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Output, ...]
    buffers: tuple[Buffer, ...]
    images_per_group: int
    workspace_bytes_per_image: int
    blob_bytes: int
    variants: tuple[Variant, ...] = ()
    tier_uses: tuple[tuple[str, tuple[TierUse, ...]], ...] = ()
    persistent: tuple[PersistentLaunch, ...] = ()
    fuse_uses: tuple[FuseUse, ...] = ()

    @property
    def all_launches(self) -> tuple[Launch, ...]:
        """Return every launch there is, those of variants last."""
        return (*self.launches, *(variant.launch for variant in self.variants))

    def launches_on(self, arch: str | None) -> tuple[Launch, ...]:
        """Return every launch that some batch needs on ``arch``; other kernels may not be compiled."""
        used = (v.launch for v in self.variants if any(u.arch == arch and u.from_images for u in v.uses))
        return (*self.launches, *used)

    def launches_for(self, arch: str | None, images: int) -> tuple[Launch, ...]:
        """Return the launches that run a batch of ``images``, in order.

        Args:
            arch: whose rates count (see `bnncc.targets.cuda.device.device_for`); None: nothing is known.
            images: of the batch.
        """
        if arch is None:
            return self.launches
        taken = {item.launch.node: item.launch for item in self.variants if item.takes(arch, images)}
        return tuple(taken.get(launch.node, launch) for launch in self.launches)

    def persistent_on(self, arch: str | None) -> tuple[PersistentLaunch, ...]:
        """Return every persistent kernel that some batch needs on ``arch``; others may not be compiled."""
        if arch is None:
            return () if self.launches else self.persistent[:1]
        used = {use.kernel for use in self.fuse_uses if use.arch == arch}
        return tuple(item for item in self.persistent if item.kernel in used)

    def persistent_for(self, arch: str | None, images: int) -> PersistentLaunch | None:
        """Return the one launch that runs a batch of ``images``; None where each layer is a launch.

        Args:
            arch: as for `launches_for`.
            images: of the batch.
        """
        limits = {use.kernel: use.to_images for use in self.fuse_uses if use.arch == arch}
        found = (
            item
            for item in self.persistent_on(arch)
            if (limit := limits.get(item.kernel)) is None or images <= limit
        )
        return next(found, None)

    @property
    def source(self) -> SourceFile:
        """Return the one source file."""
        return self.files[0]

    def stored_images(self, images: int) -> int:
        """Return ``images`` rounded up to whole groups."""
        return -(-images // self.images_per_group) * self.images_per_group

    def buffer(self, value: str) -> Buffer:
        """Return where the value called ``value`` lies."""
        return next(buffer for buffer in self.buffers if buffer.value.name == value)
