"""The machine a figure was taken on. Everything that cannot be read is None; nothing here raises."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from ...edge_runtime import __version__

# Arm cores report numbers; these are the ones in Raspberry Pis and common boards (implementer 0x41 is Arm Ltd.).
_ARM_CORES = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
}


def describe_machine(engine: str | None = None, root: Path = Path("/")) -> dict[str, Any]:
    """Board, CPU, system and versions, JSON-ready.

    Args:
        engine: The distribution of the TFLite interpreter, for its version.
        root: Where proc/, sys/ and etc/ are.

    Returns:
        temperature_c: degrees Celsius now. throttled: what the Raspberry Pi's firmware reports, see `throttled`.
        load_average: over the last minute.
    """
    cpu = root / "sys/devices/system/cpu"
    distributions = ("numpy", "pillow", *([engine] if engine else []))
    return {
        "board": _text(root / "proc/device-tree/model"),
        "cpu": _cpu_model(root),
        "cores": _cores(_text(cpu / "online")) or os.cpu_count(),
        "architecture": platform.machine() or None,
        "memory_bytes": _memory_bytes(root),
        "governor": _text(cpu / "cpu0/cpufreq/scaling_governor"),
        "temperature_c": temperature_c(root),
        "throttled": throttled(root),
        "load_average": load_average(root),
        "os": _os_name(root),
        "kernel": _text(root / "proc/sys/kernel/osrelease") or platform.release() or None,
        "python": platform.python_version(),
        "skin_edge": __version__,
        "versions": {name: _version(name) for name in distributions},
    }


def temperature_c(root: Path = Path("/")) -> float | None:
    """Degrees Celsius of the processor's thermal zone, else of the first zone that can be read."""
    found: list[tuple[bool, float]] = []
    for zone in _glob(root, "sys/class/thermal/thermal_zone*"):
        try:
            degrees = int(_text(zone / "temp") or "") / 1000
        except ValueError:
            continue
        kind = (_text(zone / "type") or "").lower()
        found.append((not ("cpu" in kind or "pkg" in kind), degrees))
    return min(found, key=lambda zone: zone[0])[1] if found else None


def throttled(root: Path = Path("/")) -> str | None:
    """What the Raspberry Pi's firmware reports, hexadecimal without 0x: "0" is never; see `throttling`.

    From sysfs, else, of this machine, from vcgencmd.
    """
    said = _first_text(root, "sys/devices/platform/soc*/*firmware/get_throttled")
    if said is not None or root != Path("/"):
        return said
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip().rpartition("=")[2].removeprefix("0x") or None


# Bits of the firmware's word; 16 above, the same since boot. Raspberry Pi documentation, vcgencmd get_throttled.
_THROTTLING = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def throttling(said: str | None) -> list[str]:
    """The flags in what `throttled` returned, such as ["undervoltage now", "throttled since boot"]."""
    try:
        word = int(said or "0", 16)
    except ValueError:
        return []
    return [
        f"{name} {when}"
        for shift, when in ((0, "now"), (16, "since boot"))
        for bit, name in _THROTTLING.items()
        if word >> (bit + shift) & 1
    ]


def frequency_mhz(root: Path = Path("/")) -> float | None:
    """The clock of the first core now, in MHz."""
    try:
        return int(_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq") or "") / 1000
    except ValueError:
        return None


def load_average(root: Path = Path("/")) -> float | None:
    """Processes that ran or waited to run, mean over the last minute."""
    try:
        return float((_text(root / "proc/loadavg") or "").split()[0])
    except (ValueError, IndexError):
        return None


def swapped_pages(root: Path = Path("/")) -> int | None:
    """Pages that went to swap or came back since boot."""
    found: list[int] = []
    for line in (_text(root / "proc/vmstat") or "").splitlines():
        name, _, value = line.partition(" ")
        if name in ("pswpin", "pswpout") and value.isdigit():
            found.append(int(value))
    return sum(found) if found else None


def _cpu_model(root: Path) -> str | None:
    fields: dict[str, str] = {}
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    part = fields.get("CPU part")
    if part and fields.get("CPU implementer") == "0x41":
        return _ARM_CORES.get(part, f"Arm part {part}")
    return fields.get("model name") or fields.get("Hardware") or None


def _cores(online: str | None) -> int | None:
    """ "0-3,6" -> 5."""
    try:
        ranges = [part.split("-") for part in (online or "").split(",") if part]
        return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges) or None
    except ValueError:
        return None


def _memory_bytes(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal" and value.split()[:1] and value.split()[0].isdigit():
            return int(value.split()[0]) * 1024
    return None


def _os_name(root: Path) -> str | None:
    for line in (_text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip("\"'") or None
    return None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str | None:
    try:
        # The device tree ends its strings with a NUL.
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \n\t") or None
    except OSError:
        return None


def _glob(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []


def _first_text(root: Path, pattern: str) -> str | None:
    return next((text for path in _glob(root, pattern) if (text := _text(path))), None)
