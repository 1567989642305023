"""The log of one job, each line once: where a reader stands, what is read, what is missing, and where the lines go."""
