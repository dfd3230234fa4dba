"""What a planner says of a request."""
from enum import Enum


class PlanVerdict(Enum):
    """Whether there is a plan, or why there is none."""

    PLANNED = 'a plan was found'
    NO_MAP = 'there is no map'
    NOT_FINITE = 'the start or the goal contains NaN or infinity'
    START_OUTSIDE = 'the start is outside of the map'
    GOAL_OUTSIDE = 'the goal is outside of the map'
    START_OCCUPIED = 'the start is too near to an obstacle'
    GOAL_OCCUPIED = 'the goal is too near to an obstacle'
    NO_WAY = 'no way from the start to the goal was found'
    TOO_NEAR = 'the best trajectory found comes too near to an obstacle'

    @property
    def accepted(self) -> bool:
        return self is PlanVerdict.PLANNED

    def __str__(self) -> str:
        return self.value
