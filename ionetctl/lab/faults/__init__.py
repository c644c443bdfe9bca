"""What can be wrong with a rehearsal host."""
