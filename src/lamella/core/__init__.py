"""The mechanisms everything else stands on: errors, names, configs, dtypes, axes, variables, seeds."""
