"""The adapter of a regional Nomad API: nothing else imports an HTTP or Nomad client for it."""

from ionetctl.region.api import NomadRegion
from ionetctl.region.http import Patience

__all__ = ["NomadRegion", "Patience"]
