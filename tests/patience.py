"""How long a test waits for what has to happen.

It is a safety net under a wait that would never end, and no measure of speed.
"""

PATIENCE_SECONDS = 900.0
