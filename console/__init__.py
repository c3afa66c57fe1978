"""Process: the console, pages that show what the pipeline does."""
