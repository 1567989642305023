"""Programs of users, checked by the type checker and never run.

A line with ``type: ignore`` is a mistake that must be found: the checker complains of one that it has no use for.
"""
