"""Several processes under one supervisor, with one ops port for all."""
