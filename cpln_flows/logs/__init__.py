"""The log of one job, with each line delivered once, and a record of what is missing."""
