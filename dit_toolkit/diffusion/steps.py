"""Step lists: the falling times that a sampler walks, from noise to data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from dit_toolkit.diffusion.schedule import Schedule


def spaced(schedule: Schedule, num_steps: int, spacing: str = "uniform", rho: float = 7.0) -> list[float]:
    """num_steps falling times, the first of them the schedule's highest or near it, and then 0.

    Args:
        spacing: "uniform": even on the clock; of trained steps, a fractional stride with first and last included
            (Nichol & Dhariwal 2021, section 4). "leading", "trailing": a stride of whole trained steps that starts at
            the first, and a fractional one that starts at the last (Lin et al. 2023, table 2). "quadratic": even in
            sqrt(t). "karras": even in (sigma / alpha)^(1 / rho) (Karras et al. 2022, equation 5). "log-snr": even in
            the log-SNR (Lu et al. 2022), which is even in log sigma ("exponential" in k-diffusion).

    Raises:
        ValueError: no such spacing, or not that many steps.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"no spacing {spacing!r}; there are {', '.join(SPACINGS)}")
    if num_steps < 1:
        most = "" if schedule.num_timesteps is None else f", at most num_timesteps ({schedule.num_timesteps})"
        raise ValueError(f"num_steps ({num_steps}) must be at least 1{most}")
    return [*SPACINGS[spacing](schedule, num_steps, rho).tolist(), 0.0]


def chosen(schedule: Schedule, timesteps: Sequence[float] | str) -> list[float]:
    """The times of `timesteps`, and then 0.

    Args:
        timesteps: falling trained steps (0 to T - 1) where the schedule has them, else times from the highest on; or
            counts such as "10,15,20": of even ones in the equal sections of the clock, the data's first.

    Raises:
        ValueError: they do not fall, or the schedule has no such steps.
    """
    if isinstance(timesteps, str):
        return _sections(schedule, [int(count) for count in timesteps.split(",")])
    total, given = schedule.num_timesteps, np.asarray(timesteps, dtype=np.float64)
    if total is None:
        if given[0] != schedule.highest:
            raise ValueError(f"timesteps: the first must be {schedule.highest:g}, where the noise is, got {given[0]:g}")
        return _falling([*given.tolist(), 0.0], "timesteps")
    wrong = given[(given < 0) | (given >= total) | (given % 1 != 0)]
    if len(wrong):
        raise ValueError(f"timesteps: {wrong[0]:g} must be a trained step, 0 to {total - 1}")
    return _falling([*((given + 1) / total).tolist(), 0.0], "timesteps")


def shifted(schedule: Schedule, times: Sequence[float], shift: float) -> list[float]:
    """Multiply sigma / alpha by `shift`, first and last time kept (Esser et al. 2024, equation 23).

    Raises:
        ValueError: the schedule has trained steps only, or a time goes beyond the first.
    """
    if shift == 1:
        return list(times)
    if schedule.num_timesteps is not None:
        raise ValueError(f"shift ({shift:g}) needs an objective of continuous time; this one has trained steps")
    inside = shift_inside(schedule, np.array(times[1:-1]), shift)
    return _falling([times[0], *inside.tolist(), times[-1]], f"shift ({shift:g})")


def shift_inside(schedule: Schedule, t: np.ndarray, shift: float) -> np.ndarray:
    """Times (N,) at which sigma / alpha is `shift` times that at t (N,)."""
    return schedule.time_of_log_snr(schedule.log_snr(t) - 2 * math.log(shift))


def _falling(times: list[float], option: str) -> list[float]:
    for t, s in pairwise(times):
        if not t > s:
            raise ValueError(f"{option}: times must fall, but on the clock from 1 to 0, {t:g} is followed by {s:g}")
    return times


def _sections(schedule: Schedule, counts: list[int]) -> list[float]:
    total, parts = schedule.num_timesteps, len(counts)
    if total is None:
        rising = [(part + (i + 1) / count) / parts for part, count in enumerate(counts) for i in range(count)]
        return [*(schedule.highest * t for t in reversed(rising)), 0.0]
    steps: list[float] = []
    for part, count in enumerate(counts):
        size, start = total // parts + (part < total % parts), part * (total // parts) + min(part, total % parts)
        if count > size:
            raise ValueError(f"timesteps: {count} steps in a section of {size} of the {total} trained ones")
        steps += (start + _stride(size, count)).tolist()
    return [*((step + 1) / total for step in reversed(steps)), 0.0]


def _stride(size: int, count: int) -> np.ndarray:
    """Rising (count,) whole numbers at a fractional stride from 0 to size - 1; the last alone where count is 1."""
    return np.rint(np.arange(count) * (size - 1) / (count - 1)) if count > 1 else np.array([size - 1.0])


def _uniform(schedule: Schedule, n: int, rho: float) -> np.ndarray:  # noqa: ARG001
    if schedule.num_timesteps is None:
        return schedule.highest * (1 - np.arange(n) / n)
    total = _trained(schedule, n, "uniform")
    return (_stride(total, n)[::-1] + 1) / total


def _leading(schedule: Schedule, n: int, rho: float) -> np.ndarray:  # noqa: ARG001
    total = _trained(schedule, n, "leading")
    return (np.arange(n)[::-1] * (total // n) + 1) / total


def _trailing(schedule: Schedule, n: int, rho: float) -> np.ndarray:  # noqa: ARG001
    total = _trained(schedule, n, "trailing")
    return np.rint(np.arange(n, 0, -1) * total / n) / total


def _trained(schedule: Schedule, num_steps: int, spacing: str) -> int:
    total = schedule.num_timesteps
    if total is None:
        raise ValueError(f"spacing {spacing!r} needs an objective of trained steps; this one has continuous time")
    if num_steps > total:
        raise ValueError(f"num_steps ({num_steps}) must be 1 to num_timesteps ({total})")
    return total


def _quadratic(schedule: Schedule, n: int, rho: float) -> np.ndarray:  # noqa: ARG001
    lowest = float(schedule.time_of_log_snr(-2 * math.log(schedule.ratio_range[0])))
    return np.linspace(math.sqrt(schedule.highest), math.sqrt(lowest), n) ** 2


def _karras(schedule: Schedule, n: int, rho: float) -> np.ndarray:
    least, most = schedule.ratio_range
    ratios = np.linspace(most ** (1 / rho), least ** (1 / rho), n) ** rho
    return _from_log_snr(schedule, -2 * np.log(ratios))


def _log_snr(schedule: Schedule, n: int, rho: float) -> np.ndarray:  # noqa: ARG001
    least, most = schedule.ratio_range
    return _from_log_snr(schedule, -2 * np.linspace(math.log(most), math.log(least), n))


def _from_log_snr(schedule: Schedule, log_snr: np.ndarray) -> np.ndarray:
    """Times of rising log-SNRs, of which the first is moved to the schedule's highest: the noise is there."""
    times = schedule.time_of_log_snr(log_snr)
    times[0] = schedule.highest
    return times


SPACINGS: dict[str, Callable[[Schedule, int, float], np.ndarray]] = {
    "uniform": _uniform,
    "leading": _leading,
    "trailing": _trailing,
    "quadratic": _quadratic,
    "karras": _karras,
    "log-snr": _log_snr,
}
