"""The receiving half: which TSNs have arrived, messages put together, the path that packets take."""
