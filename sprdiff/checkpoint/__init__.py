"""What a checkpoint is: its parts, their sizes, its fingerprint, where it comes from, how it is loaded."""
