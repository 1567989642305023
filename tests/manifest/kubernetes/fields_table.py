"""Writes the table of a Job's fields to the docs; run by ``poe fields``."""

from tests.manifest.kubernetes.schema import outcomes, table
from tests.manifest.kubernetes.test_schema import TABLE

if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(outcomes()))
