"""Worlds for tests and demonstrations, without hardware: seeded, so that a run can be repeated."""
