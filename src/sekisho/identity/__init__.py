"""Who asks: principals and their API keys."""
