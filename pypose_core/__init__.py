"""pypose_core: differentiable estimation and control on PyTorch."""
