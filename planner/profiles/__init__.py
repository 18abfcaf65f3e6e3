"""Plans models that only their own code describes: replays measure profiles, and memory and time follow from these."""

from planner.profiles.memory import ProfiledMemory
from planner.profiles.model import ProfiledModel

__all__ = ["ProfiledMemory", "ProfiledModel"]
