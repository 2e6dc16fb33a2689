"""The CUDA target: generated kernels for every NVIDIA GPU from sm_75 up."""
