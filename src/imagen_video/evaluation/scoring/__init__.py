"""From the measures of all clips to numbers with errors, and a report."""
