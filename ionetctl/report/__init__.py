"""Reports for other tools: JSON, CSV and JUnit."""
