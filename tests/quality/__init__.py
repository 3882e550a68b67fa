"""What stops a wrong number: mutants of every mart, and input that must not raise an alarm."""
