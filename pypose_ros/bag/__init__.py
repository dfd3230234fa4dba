"""Bags: reading, writing, validation, conversion, synthetic flights, replay and its report."""
from .errors import BagError
from .reader import BagReader
from .writer import BagWriter

__all__ = ['BagError', 'BagReader', 'BagWriter']
