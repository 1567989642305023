"""Writes the page with all permissions to the docs; run by ``poe permissions``."""

from cpln_flows.provision import page
from tests.provision.test_page import PAGE

if __name__ == "__main__":
    PAGE.write_text(page.as_markdown())
