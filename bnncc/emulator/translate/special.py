"""Special registers."""

from __future__ import annotations

from typing import Final

_AXES: Final = "xyz"

SPECIAL: Final = {
    **{f"%tid.{axis}": f"t->tid[{i}]" for i, axis in enumerate(_AXES)},
    **{f"%ctaid.{axis}": f"t->ctaid[{i}]" for i, axis in enumerate(_AXES)},
    **{f"%ntid.{axis}": f"emu_geometry.ntid[{i}]" for i, axis in enumerate(_AXES)},
    **{f"%nctaid.{axis}": f"emu_geometry.nctaid[{i}]" for i, axis in enumerate(_AXES)},
    # A launch without clusters is one of 1x1x1 clusters.
    **{f"%clusterid.{axis}": f"t->ctaid[{i}]" for i, axis in enumerate(_AXES)},
    **{f"%nclusterid.{axis}": f"emu_geometry.nctaid[{i}]" for i, axis in enumerate(_AXES)},
    **{f"%cluster_ctaid.{axis}": "0u" for axis in _AXES},
    **{f"%cluster_nctaid.{axis}": "1u" for axis in _AXES},
    "%cluster_ctarank": "0u",
    "%cluster_nctarank": "1u",
    "%is_explicit_cluster": "false",
    "%laneid": "t->lane",
    "%warpid": "t->warp_index",
    "%nwarpid": "32u",
    "WARP_SZ": "32u",
    "%lanemask_eq": "(1u << t->lane)",
    "%lanemask_lt": "((1u << t->lane) - 1)",
    "%lanemask_le": "((2u << t->lane) - 1)",
    "%lanemask_gt": "(~0u << t->lane << 1)",
    "%lanemask_ge": "(~0u << t->lane)",
    "%smid": "0u",
    "%nsmid": "1u",
    "%gridid": "0u",
    "%clock": "(u32)emu_progress",
    "%clock_hi": "(u32)(emu_progress >> 32)",
    "%clock64": "emu_progress",
    "%globaltimer": "emu_progress",
    "%globaltimer_lo": "(u32)emu_progress",
    "%envreg1": "(u32)(emu_workspace() >> 32)",
    "%envreg2": "(u32)emu_workspace()",
    "%dynamic_smem_size": "emu_geometry.dynamic_shared_bytes",
    "%total_smem_size": "emu_geometry.total_shared_bytes",
    "%aggr_smem_size": "emu_geometry.total_shared_bytes",
}
"""Their values as C++ expressions; the clocks only ever grow."""
