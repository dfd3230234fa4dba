"""The Riccati recursion, native and in torch, beside the dense KKT system."""
import pytest
import torch

from pypose_core import native
from pypose_core.control.bounded import solve_bounded_lqr
from pypose_core.control.riccati import reference, solve_lqr

needs_native = pytest.mark.skipif(not native.available, reason=native.status)


def problem(B, T, n=4, m=2, *, shared_time=False, shared_batch=False, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    t, b = (1 if shared_time else T), (1 if shared_batch else B)
    Q = torch.randn(B, T, n + m, n + m, dtype=dtype)
    Q = Q @ Q.mT + torch.eye(n + m, dtype=dtype)
    return (Q, torch.randn(b, T, n + m, dtype=dtype),
            torch.eye(n, dtype=dtype) + 0.3 * torch.randn(b, t, n, n, dtype=dtype),
            torch.randn(B, t, n, m, dtype=dtype), torch.randn(b, t, n, dtype=dtype), torch.randn(B, n, dtype=dtype))


def dense(Q, p, A, B, c, x0, T):
    """The same by one dense linear system of the optimality conditions, for one problem."""
    n, m = B.shape[-2:]
    N, size = n + m, T * (n + m) + n
    H, g = torch.zeros(size, size, dtype=Q.dtype), torch.zeros(size, dtype=Q.dtype)
    C, d = torch.zeros((T + 1) * n, size, dtype=Q.dtype), torch.zeros((T + 1) * n, dtype=Q.dtype)
    C[:n, :n], d[:n] = torch.eye(n, dtype=Q.dtype), x0
    for t in range(T):
        def at(z, t=t):
            return z[t if z.shape[0] > 1 else 0]
        s = slice(t * N, t * N + N)
        H[s, s], g[s] = at(Q), at(p)
        rows = slice((t + 1) * n, (t + 2) * n)
        C[rows, t * N:t * N + n], C[rows, t * N + n:t * N + N] = -at(A), -at(B)
        C[rows, (t + 1) * N:(t + 1) * N + n], d[rows] = torch.eye(n, dtype=Q.dtype), at(c)
    K = torch.cat([torch.cat([H, C.mT], 1), torch.cat([C, torch.zeros(len(d), len(d), dtype=Q.dtype)], 1)])
    z = torch.linalg.solve(K, torch.cat([-g, d]))[:size]
    tau = z[:T * N].view(T, N)
    return torch.cat([tau[:, :n], z[T * N:].view(1, n)]), tau[:, n:], 0.5 * z @ H @ z + g @ z


@pytest.mark.parametrize('solve', [pytest.param(solve_lqr, marks=needs_native), reference])
@pytest.mark.parametrize('shared_time', [False, True])
@pytest.mark.parametrize('B, T', [(1, 1), (1, 7), (3, 4), (21, 5)])
def test_the_recursion_solves_the_optimality_conditions(solve, shared_time, B, T):
    inputs = problem(B, T, shared_time=shared_time)
    found = solve(*inputs, T)
    for i in range(B):
        x, u, cost = dense(*(z[i] for z in inputs), T)
        torch.testing.assert_close(found.x[i], x, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(found.u[i], u, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(found.cost[i], cost, atol=1e-8, rtol=1e-8)


@needs_native
@pytest.mark.parametrize('n, m', [(1, 1), (3, 5), (12, 4), (17, 3)])
@pytest.mark.parametrize('shared', [False, True])
def test_the_native_kernel_and_its_adjoint_agree_with_torch(n, m, shared):
    inputs = [z.requires_grad_() for z in problem(11, 6, n, m, shared_time=shared, shared_batch=shared)]
    ours, theirs = solve_lqr(*inputs, 6, gains=True), reference(*inputs, 6)
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)
    weights = [torch.randn_like(z) for z in ours[:3]]
    grads = [torch.autograd.grad(sum((a * w).sum() for a, w in zip(s[:3], weights)), inputs) for s in (ours, theirs)]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-8)


@needs_native
def test_single_precision_is_as_good_as_it_can_be():
    inputs = problem(40, 30, 6, 2)
    exact = solve_lqr(*inputs, 30)
    single = solve_lqr(*(z.float() for z in inputs), 30)
    scale = exact.u.abs().amax()
    assert (single.u - exact.u).abs().max() < 2e-4 * scale
    assert ((single.cost - exact.cost) / exact.cost).abs().max() < 1e-4


@needs_native
def test_first_and_second_derivatives_are_those_of_finite_differences():
    inputs = tuple(z.requires_grad_() for z in problem(2, 2, 2, 1))

    def function(*inputs):
        return solve_lqr(*inputs, 2)[:3]
    assert torch.autograd.gradcheck(function, inputs, atol=1e-6)
    assert torch.autograd.gradgradcheck(function, inputs, atol=1e-5)


def test_function_transforms_take_the_reference():
    Q, p, A, B, c, x0 = problem(1, 3, 2, 1)
    by_start = torch.func.jacrev(lambda x0: solve_lqr(Q, p, A, B, c, x0, 3).u)(x0)
    expected = torch.autograd.functional.jacobian(lambda x0: reference(Q, p, A, B, c, x0, 3).u, x0)
    torch.testing.assert_close(by_start, expected)


def test_a_problem_without_a_minimum_is_named():
    Q, *rest = problem(4, 3)
    Q = Q.clone()
    Q[2, 1, -1, -1] = -5.0
    Q[2, 1, -1, :-1] = Q[2, 1, :-1, -1] = 0
    rest[2] = rest[2] * 0
    with pytest.raises(ValueError, match='problem 2'):
        solve_lqr(Q, *rest, 3)


def bounded(B=3, T=4, n=3, m=2, dtype=torch.float64, seed=0):
    inputs = problem(B, T, n, m, dtype=dtype, seed=seed)
    return inputs, torch.full((B, T, m), -0.3, dtype=dtype), torch.full((B, T, m), 0.4, dtype=dtype)


def test_bounded_problems_agree_with_scipy():
    from scipy.optimize import lsq_linear
    inputs, lower, upper = bounded()
    found = solve_bounded_lqr(*inputs, 4, lower, upper)
    Q, p, A, B, c, x0 = inputs
    assert ((found.u >= lower) & (found.u <= upper)).all()
    active = ((found.u - lower).abs() < 1e-9) | ((found.u - upper).abs() < 1e-9)
    assert active.any() and not active.all()
    for i in range(3):
        def cost(u, i=i):
            x, total = x0[i], 0
            for t in range(4):
                tau = torch.cat([x, u[t]])
                total = total + 0.5 * tau @ Q[i, t] @ tau + p[i, t] @ tau
                x = A[i, t] @ x + B[i, t] @ u[t] + c[i, t]
            return total
        zero = torch.zeros(4, 2, dtype=torch.float64)
        H = torch.autograd.functional.hessian(lambda z, cost=cost: cost(z.view(4, 2)), zero.view(-1))
        g = torch.autograd.functional.jacobian(lambda z, cost=cost: cost(z.view(4, 2)), zero.view(-1))
        L = torch.linalg.cholesky(H)
        exact = lsq_linear(L.mT.numpy(), -torch.linalg.solve(L, g).numpy(),
                           bounds=(lower[i].view(-1).numpy(), upper[i].view(-1).numpy()), tol=1e-14)
        torch.testing.assert_close(found.u[i].view(-1), torch.tensor(exact.x), atol=1e-7, rtol=0)
        torch.testing.assert_close(found.cost[i], cost(found.u[i]))


def test_gradients_hold_at_active_bounds():
    inputs, lower, upper = bounded(B=2, T=3, n=2, m=1, seed=3)
    leaves = [z.requires_grad_() for z in (*inputs, lower, upper)]
    found = solve_bounded_lqr(*leaves[:6], 3, *leaves[6:])
    active = ((found.u - lower).abs() < 1e-9) | ((found.u - upper).abs() < 1e-9)
    assert active.any() and not active.all()

    def function(*leaves):
        found = solve_bounded_lqr(*leaves[:6], 3, *leaves[6:])
        return found.x, found.u, found.cost
    assert torch.autograd.gradcheck(function, leaves, atol=1e-5, rtol=1e-4)


def test_bounds_may_be_missing_or_leave_no_room():
    inputs, lower, upper = bounded()
    free = solve_lqr(*inputs, 4)
    infinite = torch.full_like(lower, torch.inf)
    torch.testing.assert_close(solve_bounded_lqr(*inputs, 4, -infinite, infinite).u, free.u, atol=1e-9, rtol=1e-9)
    one_sided = solve_bounded_lqr(*inputs, 4, lower, infinite)
    assert (one_sided.u >= lower).all() and (one_sided.u > upper).any()
    pinned = solve_bounded_lqr(*inputs, 4, lower, lower)
    torch.testing.assert_close(pinned.u, lower, atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match='above'):
        solve_bounded_lqr(*inputs, 4, upper, lower)


@pytest.mark.parametrize('batch', [2, 21])
def test_problems_that_differ_in_their_first_state_alone_are_solved_as_any_others(batch):
    """They have one recursion; expanded views say so, copies do not."""
    torch.manual_seed(6)
    n, m, steps = 3, 2, 7
    Q = torch.randn(1, steps, n + m, n + m).double()
    one = [Q @ Q.mT + torch.eye(n + m), torch.randn(1, steps, n + m).double(), torch.randn(1, steps, n, n).double(),
           torch.randn(1, steps, n, m).double(), torch.randn(1, steps, n).double()]
    x0 = torch.randn(batch, n).double()
    found = []
    for copied in (False, True):
        leaves = [z.clone().requires_grad_() for z in (*one, x0)]
        wide = [z.expand(batch, *z.shape[1:]) for z in leaves[:5]]
        solution = solve_lqr(*([z.clone() for z in wide] if copied else wide), leaves[5], steps, gains=True)
        loss = solution.x.square().sum() + (solution.u * torch.arange(m)).sum() + solution.cost.square().sum()
        found.append([*solution, *torch.autograd.grad(loss, leaves)])
    for shared, separate in zip(*found):
        torch.testing.assert_close(shared, separate, rtol=1e-10, atol=1e-10)
