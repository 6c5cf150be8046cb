"""What a request carries: labels found in its text, and the text without them."""
