"""The one place that builds things and joins them."""
