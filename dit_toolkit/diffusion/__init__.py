"""Schedules, denoisers and guidance."""
