"""Intervals, tests, corrections, case and claim verdicts: pure functions of rows."""
