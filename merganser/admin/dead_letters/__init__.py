"""Dead letters as an operator deals with them: found in their topic, retried, dropped."""
