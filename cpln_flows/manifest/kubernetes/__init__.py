"""Convert Kubernetes Jobs, field by field. Pure."""
