"""What a change of a package does to checkpointing: base and head run where code that matters differs, and what changed."""
