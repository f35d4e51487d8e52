"""The arithmetic that this machine trains fastest in."""

from __future__ import annotations

from pathlib import Path


def choose_precision(precision: str) -> str:
    """Turn ``auto`` into the arithmetic that is fastest on this machine's CPU.

    bfloat16 is faster if the CPU multiplies its matrices in hardware (AMX). Otherwise it is emulated, and these networks
    take three times as long as in float32.
    """
    if precision != "auto":
        return precision
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: no CPU with AMX runs macOS
        return "float32"
    return "mixed_bfloat16" if "amx_bf16" in flags else "float32"
