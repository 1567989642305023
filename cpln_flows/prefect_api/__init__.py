"""What is asked of Prefect's API; the decisions stand elsewhere."""
