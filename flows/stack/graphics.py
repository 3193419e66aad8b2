"""Is there a GPU that the installed PyTorch can use? Asks the driver itself: importing torch takes seconds."""

from __future__ import annotations

import ctypes
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Row = tuple[str, Literal["ok", "warn", "fail"], str, str]


def examine() -> Row:
    """A row of the doctor's table; without a GPU everything works, slowly."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "GPU", "warn", "no NVIDIA driver: networks run on the CPU", "train on a machine with a GPU"
    count, version = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "GPU", "warn", "the driver finds no device: networks run on the CPU", "see nvidia-smi"
    driver.cuDriverGetVersion(ctypes.byref(version))
    names = []
    for index in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(100), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        names.append(f"{name.value.decode()} ({memory.value / 2**30:.0f} GiB)")
    what, built = ", ".join(names), built_for()
    if built is None:
        return "GPU", "warn", f"{what}, but this PyTorch is built for the CPU", "install PyTorch's CUDA build"
    if int(built.split(".")[0]) > version.value // 1000:
        has = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return "GPU", "warn", f"{what}: the driver speaks CUDA {has}, PyTorch {built}", "update the driver"
    return "GPU", "ok", f"{what}, CUDA {built}", ""


def built_for() -> str | None:
    """The CUDA version of the installed PyTorch, None for a CPU build; read from its file."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    found = re.search(
        r"^cuda\b[^=]*=\s*'([\d.]+)'", (Path(spec.origin).with_name("version.py")).read_text("utf-8"), re.M
    )
    return found[1] if found else None
