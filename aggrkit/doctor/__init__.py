"""What can be wrong with an installation, a notebook or a results file, and what to do about it."""

from aggrkit.doctor.diagnosis import Diagnosis
from aggrkit.doctor.examining import examine

__all__ = ["Diagnosis", "examine"]
