"""The optimizers under the module name that PyPose has for them."""
from pypose_core.optim.dogleg import Dogleg as Dogleg
from pypose_core.optim.gauss_newton import GN as GN
from pypose_core.optim.gauss_newton import GaussNewton as GaussNewton
from pypose_core.optim.levenberg_marquardt import LM as LM
from pypose_core.optim.levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
