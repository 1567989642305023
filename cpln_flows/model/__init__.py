"""Names, tags, API answers and log lines of the platform as values. Pure: no input or output."""
