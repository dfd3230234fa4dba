"""The model predictive control tasks in CasADi: fatrop, and its SQP method on HPIPM.

Multiple shooting with the variables in the order x_0, u_0, x_1, u_1, ..., which is how both fatrop and HPIPM
recognize the stages. Where rates are limited, the state carries the control before.
"""
from collections.abc import Callable

import casadi as ca
import numpy as np


class CasadiMpc:
    """A parametric problem and its warm start.

    Args:
        step: x₊(x, u). stage, end: residual vectors (x, u, p) and (x, p).
        sizes: states, controls, parameters of a stage.
        u_bounds, x_bounds: (lower, upper) arrays; states at k = 1 … N.
        path: rows (x) that must not be negative at k = 1 … N, or None.
        rate: (lower, upper) of u_k - u_{k-1}; the last numbers of the state are then u_{k-1}.
        solver: 'fatrop' or 'hpipm'. Tuned for control as far as its options allow: tolerances at which another
            iteration changes the cost by less than 1e-4 of it, as ours have; HPIPM in its mode 'speed', without its
            warm start, which made it slower or fail on each of the tasks.
        exact: the SQP method takes the Lagrangian's Hessian, its negative eigenvalues clipped, not Gauss-Newton's.
        iterations: of the SQP method; 1 is the real-time iteration, without line search.
    """

    def __init__(self, *, step: Callable, stage: Callable, end: Callable, sizes: tuple[int, int, int], N: int,
                 u_bounds, x_bounds, path: Callable | None = None, rate=None, solver: str,
                 exact: bool = False, iterations: int = 100):
        nx, nu, np_ = sizes
        self.N, self.nx, self.nu = N, nx, nu
        P = ca.MX.sym('p', np_ * (N + 1))
        x, u, p = ca.SX.sym('x', nx), ca.SX.sym('u', nu), ca.SX.sym('p', np_)
        F = ca.Function('F', [x, u], [step(x, u)])
        R = ca.Function('R', [x, u, p], [ca.vertcat(*stage(x, u, p))])
        RN = ca.Function('RN', [x, p], [ca.vertcat(*end(x, p))])
        D = None if path is None else ca.Function('D', [x], [path(x)])
        w, g, residuals = [], [], []
        self.lbx, self.ubx, self.lbg, self.ubg, equality = [], [], [], [], []
        free = np.full(nx, np.inf)
        X = [ca.MX.sym(f'x{k}', nx) for k in range(N + 1)]
        U = [ca.MX.sym(f'u{k}', nu) for k in range(N)]
        for k in range(N + 1):
            w.append(X[k])
            lo, hi = (-free, free) if k == 0 else x_bounds
            self.lbx.append(lo)
            self.ubx.append(hi)
            pk = P[np_ * k:np_ * (k + 1)]
            if k < N:
                w.append(U[k])
                self.lbx.append(u_bounds[0])
                self.ubx.append(u_bounds[1])
                residuals.append(R(X[k], U[k], pk))
                g.append(X[k + 1] - F(X[k], U[k]))
                self._row(np.zeros(nx), np.zeros(nx), equality, True)
            else:
                residuals.append(RN(X[k], pk))
            if k == 0:
                g.append(X[0])   # bounds are set to the given state
                self.at_x0 = sum(len(b) for b in self.lbg)
                self._row(np.zeros(nx), np.zeros(nx), equality, True)
            if k > 0 and D is not None:
                rows = D.size1_out(0)
                g.append(D(X[k]))
                self._row(np.zeros(rows), np.full(rows, np.inf), equality, False)
            if k < N and rate is not None:
                g.append(U[k] - X[k][nx - nu:])
                self._row(*rate, equality, False)
        r = ca.vertcat(*residuals)
        nlp = {'x': ca.vertcat(*w), 'p': P, 'f': 0.5 * ca.sumsqr(r), 'g': ca.vertcat(*g)}
        quiet = {'print_time': False, 'expand': True}
        if solver == 'fatrop':
            options = quiet | {'structure_detection': 'auto', 'equality': equality, 'fatrop.print_level': 0,
                               'fatrop.tol': 1e-4}
            self.solver = ca.nlpsol('s', 'fatrop', nlp, options)
        else:
            options = quiet | {
                'qpsol': 'hpipm', 'qpsol_options': {'print_time': False, 'error_on_fail': False,
                                                    'hpipm': {'iter_max': 50, 'mode': 'speed'}},
                'print_header': False, 'print_iteration': False, 'print_status': False, 'max_iter': iterations,
                'error_on_fail': False, 'tol_pr': 1e-4, 'tol_du': 1e-3}
            if iterations == 1:
                options['max_iter_ls'] = 0
            if exact:
                options['convexify_strategy'] = 'eigen-clip'
            else:
                J = ca.jacobian(r, nlp['x'])
                sigma, multipliers = ca.MX.sym('sigma'), ca.MX.sym('lam', nlp['g'].numel())
                hessian = ca.Function('H', [nlp['x'], P, sigma, multipliers], [sigma * ca.mtimes(J.T, J)],
                                      ['x', 'p', 'lam_f', 'lam_g'], ['hess_gamma_x_x'])
                options['hess_lag'] = hessian.expand()
            self.solver = ca.nlpsol('s', 'sqpmethod', nlp, options)
        self.lbx, self.ubx, self.lbg, self.ubg = map(np.concatenate, (self.lbx, self.ubx, self.lbg, self.ubg))
        self.w = np.zeros(len(self.lbx))
        self.lam_x, self.lam_g = np.zeros(len(self.lbx)), np.zeros(len(self.lbg))

    def _row(self, lower, upper, equality: list, equal: bool) -> None:
        self.lbg.append(np.asarray(lower, float))
        self.ubg.append(np.asarray(upper, float))
        equality.extend([equal] * len(lower))

    def guess(self, X: np.ndarray, U: np.ndarray) -> None:
        """States (N + 1, nx) and controls (N, nu) to begin with."""
        rows = np.concatenate([X[:-1], U], 1).reshape(-1)
        self.w = np.concatenate([rows, X[-1]])

    def forget(self) -> None:
        """Begin without multipliers."""
        self.lam_x, self.lam_g = np.zeros_like(self.lam_x), np.zeros_like(self.lam_g)

    def shift(self) -> None:
        """The last solution one step later."""
        n = self.nx + self.nu
        self.w[:-n] = self.w[n:].copy()
        for lam in (self.lam_x, self.lam_g):
            m = n if lam is self.lam_x else (len(lam) - self.nx) // self.N
            lam[:-m] = lam[m:].copy()

    def solve(self, x0: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        """Controls (N, nu)."""
        self.lbg[self.at_x0:self.at_x0 + self.nx] = self.ubg[self.at_x0:self.at_x0 + self.nx] = x0
        self.w[:self.nx] = x0
        s = self.solver(x0=self.w, p=parameters, lbx=self.lbx, ubx=self.ubx, lbg=self.lbg, ubg=self.ubg,
                        lam_x0=self.lam_x, lam_g0=self.lam_g)
        self.w, self.lam_x, self.lam_g = (np.array(s[name]).ravel() for name in ('x', 'lam_x', 'lam_g'))
        n = self.nx + self.nu
        return self.w[:n * self.N].reshape(self.N, n)[:, self.nx:].copy()
