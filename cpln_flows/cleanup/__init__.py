"""Delete what nobody uses any more: observe, decide, delete and report."""
