"""The operations of torchlie and jaxlie on SO3 and SE3, in the form that benchmarks/lie.py times.

Both take the same twists, poses and points as we do, in their own storage: torchlie rotation matrices (SE3: 3x4),
jaxlie [w x y z, t]. jaxlie is compiled by jax.jit with the arguments on the device, and waited for.
"""
import os
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

#: Of the operations in benchmarks/lie.py, those that the library has.
OPERATIONS = ('Exp', 'Log', 'Log(Exp)', 'Inv', 'Mul', 'Act')


def arguments(operation: str) -> str:
    """Which of X, Y (elements), a (twist), p (point) the operation takes."""
    return {'Exp': 'a', 'Log(Exp)': 'a', 'Mul': 'XY', 'Act': 'Xp'}.get(operation, 'X')


class Torchlie:
    """torchlie's functional interface, its fastest."""

    tolerance = 1e-5
    """in float64: its series below an angle of 5e-3 errs by 1.2e-6."""

    def __init__(self):
        self.name = f'torchlie {version("torchlie")}'

    def call(self, group: str, operation: str, given: dict[str, Tensor], matrices: dict[str, Tensor],
             gradient: bool) -> Callable[[], Tensor]:
        """Forward, or forward and backward; `given` has our tensors, `matrices` those of X and Y."""
        import torchlie.functional
        lie = getattr(torchlie.functional, group)
        run = {'Exp': lie.exp, 'Log': lie.log, 'Log(Exp)': lambda a: lie.log(lie.exp(a)), 'Inv': lie.inv,
               'Mul': lie.compose, 'Act': lie.transform}[operation]
        taken = [(matrices[k][..., :3, :].contiguous() if k in 'XY' else given[k].clone()).requires_grad_(gradient)
                 for k in arguments(operation)]
        if not gradient:
            return lambda: run(*taken)
        weight = torch.ones_like(run(*taken))

        def both():
            out = run(*taken)
            out.backward(weight)
            return out.detach()
        return both

    @staticmethod
    def common(result: Tensor) -> Tensor:
        """Elements as the upper rows of their matrices, vectors as they are."""
        return result


class Jaxlie:
    """jaxlie, each operation compiled as a whole."""

    tolerance = 1e-7

    def __init__(self):
        os.environ.setdefault('XLA_FLAGS', '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1')
        import jax
        jax.config.update('jax_enable_x64', True)
        self.name = f'jaxlie {version("jaxlie")}, jit'

    def call(self, group: str, operation: str, given: dict[str, Tensor], matrices: dict[str, Tensor],
             gradient: bool) -> Callable:
        import jax
        import jaxlie
        lie = getattr(jaxlie, group)
        run = {'Exp': lambda a: lie.exp(a).parameters(), 'Log': lambda X: lie(X).log(),
               'Log(Exp)': lambda a: lie.exp(a).log(), 'Inv': lambda X: lie(X).inverse().parameters(),
               'Mul': lambda X, Y: lie(X).multiply(lie(Y)).parameters(),
               'Act': lambda X, p: lie(X).apply(p)}[operation]
        taken = [jax.device_put(self.storage(given[k]) if k in 'XY' else given[k].numpy())
                 for k in arguments(operation)]
        if not gradient:
            compiled = jax.jit(run)
            return lambda: compiled(*taken).block_until_ready()

        # The weight is an argument as it is with torch: to a compiler that knows it, half of a gradient is constant.
        def pulled_back(weight, *args):
            out, pull = jax.vjp(run, *args)
            return out, pull(weight)
        derivative = jax.jit(pulled_back)
        weight = jax.device_put(jax.numpy.ones_like(run(*taken)))

        def both():
            out, found = derivative(weight, *taken)
            found[-1].block_until_ready()
            return out
        return both

    @staticmethod
    def storage(X: Tensor):
        """Ours [t, x y z w] as [w x y z, t]."""
        return torch.cat([X[..., -1:], X[..., -4:-1], X[..., :-4]], -1).numpy()

    @staticmethod
    def common(result) -> Tensor:
        import jaxlie
        import numpy as np
        x = np.asarray(result)
        if x.shape[-1] == 7:
            return torch.tensor(np.asarray(jaxlie.SE3(x).as_matrix()))[..., :3, :]
        return torch.tensor(np.asarray(jaxlie.SO3(x).as_matrix()) if x.shape[-1] == 4 else x)


def pose_as_rows(X) -> Tensor:
    """Our result as common() has theirs."""
    if hasattr(X, 'ltype') and not X.ltype.on_manifold:
        return X.matrix().detach()[..., :3, :]
    return (X.tensor() if hasattr(X, 'ltype') else X).detach()
