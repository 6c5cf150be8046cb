"""The APIs that applications and engines speak."""
