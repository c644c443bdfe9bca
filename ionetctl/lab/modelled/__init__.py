"""Rehearsal hosts that are answered by their process: no file tree, shell or agent of their own."""
