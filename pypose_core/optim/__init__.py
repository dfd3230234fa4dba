"""Second-order optimizers: `pp.optim`, with PyPose's names and more."""
from pypose_core.optim import corrector as corrector
from pypose_core.optim import functional as functional
from pypose_core.optim import kernel as kernel
from pypose_core.optim import optimizer as optimizer
from pypose_core.optim import scheduler as scheduler
from pypose_core.optim import solver as solver
from pypose_core.optim import strategy as strategy
from pypose_core.optim.dogleg import Dogleg as Dogleg
from pypose_core.optim.gauss_newton import GN as GN
from pypose_core.optim.gauss_newton import GaussNewton as GaussNewton
from pypose_core.optim.layer import SolverLayer as SolverLayer
from pypose_core.optim.levenberg_marquardt import LM as LM
from pypose_core.optim.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from pypose_core.optim.status import Result as Result
from pypose_core.optim.status import Stats as Stats
from pypose_core.optim.status import Status as Status
from pypose_core.optim.status import Tolerance as Tolerance
