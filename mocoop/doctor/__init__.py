"""Whether everything a run needs is in place: software, weights, data, disk."""

from mocoop.doctor import places, software, weights
from mocoop.doctor.finding import Finding, diagnose

__all__ = ["Finding", "diagnose", "places", "software", "weights"]
