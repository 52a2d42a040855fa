"""From a float network to one that computes in integers: folding, simulation, calibration."""
