"""What policy has done to an answer on its way to the caller: values masked, and the caller's own put back."""
