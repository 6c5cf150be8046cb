"""Engines that serve models."""
