"""Convert manifests of Kubernetes and of Control Plane into what the platform runs. Pure."""
