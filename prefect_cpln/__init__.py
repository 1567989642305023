"""prefect-cpln names."""
