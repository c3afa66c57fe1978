"""What operators do: each module has the functions that a command or a web page calls."""
