"""The forward proxy of the local platform: its sidecars and its edge in one."""
