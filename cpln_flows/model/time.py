"""Units of time, and how far clocks may be apart."""

NS = 1_000_000_000
"""Nanoseconds of a second, in which the logs service counts."""

LOG_CLOCK_SKEW_NS = 24 * 3600 * NS
"""How far the clock that stamps log lines may be from the one in the API's ``Date`` header.

Lines are stamped by the machine that runs the container, and nothing ties its clock to the API's. Only the lines of one job
match its selector, so a wide bound costs no foreign lines, and a narrow one would silently lose the first or the last of them.
"""
