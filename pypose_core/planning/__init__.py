"""Trajectories around obstacles: a Gaussian process of motion, obstacles as factors, a start from a search."""
from .factors import Obstacle, Smoothness
from .initial_path import grid_path, sampled_path, straight_path
from .planner import Plan, PlanConfig, PlanGraph, Planner
from .verdict import PlanVerdict

__all__ = ['Obstacle', 'Plan', 'PlanConfig', 'PlanGraph', 'PlanVerdict', 'Planner', 'Smoothness', 'grid_path',
           'sampled_path', 'straight_path']
