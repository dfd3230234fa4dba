"""Lie groups: the reference on plain tensors, the native kernels, and LieTensor."""
