"""What every context stands on: time, identifiers, canonical bytes, durable files, signed notes."""
