"""The second version of the transforms, as little able as the first."""
