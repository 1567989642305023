"""From what a user asks for to what the platform runs: manifests of Kubernetes and of Control Plane. Pure."""
