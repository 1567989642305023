"""Programs of users, checked by the type checker and never run.

A line with ``type: ignore`` is a mistake that must be found: the checker reports an unused one.
"""
