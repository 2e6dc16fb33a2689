"""Networks on a CUDA device.

::

    with CudaSession(0) as session:
        executable = session.load(artifact, blob, images)
        scores = executable.run({"image": pixels})["scores"]  # from host to host
        scores = executable.run_on_device({"image": x}, stream=torch.cuda.current_stream())["scores"]

PyCUDA owns the primary context, memory, streams and modules. With cuda-bindings there are cooperative and
cluster launches, CUDA graphs, and runs on the streams of other libraries. `libraries` is the only module
that imports either.
"""

from bnncc.runtime.cuda.context import CudaSession
from bnncc.runtime.cuda.device_arrays import DeviceArray, is_on_device
from bnncc.runtime.cuda.devices import CudaDevice, list_devices
from bnncc.runtime.cuda.executable import CudaExecutable
from bnncc.runtime.cuda.images import choose_image
from bnncc.runtime.cuda.kernels import KernelCall, LoadedCode
from bnncc.runtime.cuda.timing import LaunchTime

__all__ = [
    "CudaDevice",
    "CudaExecutable",
    "CudaSession",
    "DeviceArray",
    "KernelCall",
    "LaunchTime",
    "LoadedCode",
    "choose_image",
    "is_on_device",
    "list_devices",
]
