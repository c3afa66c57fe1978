"""What every HTTP endpoint needs: server, errors, keys, CORS, request ids."""
