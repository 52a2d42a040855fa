"""What makes the measured times doubtful, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .machine import throttling

# Of the last minute, before anything was measured. Half a process is more than a system at rest has.
BUSY = 0.5

# More than the noise of a median.
SLOWER = 1.1
FAR_APART = 0.1


def caveats(result: Mapping[str, Any], swapped: int | None) -> list[dict[str, str]]:
    """[{"what", "remedy"}], empty where nothing is wrong.

    Args:
        result: What `bench.run_bench` has measured so far.
        swapped: Pages that were swapped meanwhile, None where the system does not tell.
    """
    machine = result["machine"]
    found: list[dict[str, str]] = []

    def say(what: str, remedy: str) -> None:
        found.append({"what": what, "remedy": remedy})

    governor = machine["governor"]
    if governor is not None and governor != "performance":
        say(
            f"the CPU governor is {governor}: the clock follows the load",
            "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    load = machine["load_average"]
    if load is not None and load > BUSY:
        say(
            f"the load average was {load:.2f} before measuring: other processes compete",
            "end them, wait a minute and measure again",
        )
    if swapped:
        say(f"the system swapped {swapped} pages meanwhile", "end other programs, or use a machine with more memory")
    flags = set(throttling(machine["throttled"])) | set(throttling(machine.get("throttled_after")))
    sustained = result.get("sustained")
    if sustained:
        flags.update(flag for row in sustained["slices"] for flag in row["flags"])
        if sustained["slowdown"] > SLOWER:
            say(
                f"the sustained run ended {sustained['slowdown']:.2f} times as slow as at its start",
                "cool the machine or end competing processes; expect the latency at the end",
            )
    if flags:
        say(
            f"the firmware reports: {', '.join(sorted(flags))}",
            "a stronger power supply against undervoltage, cooling against heat; restart to clear 'since boot'",
        )
    spread = result.get("processes")
    if spread and spread["spread"] is not None and spread["spread"] > FAR_APART:
        say(
            f"the medians of {len(spread['medians_ms'])} processes are {spread['spread']:.0%} apart",
            "trust no difference smaller than that; --processes 10 shows more of it",
        )
    return found
