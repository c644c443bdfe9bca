"""The adapter to a region's Nomad API: nothing else imports an HTTP or Nomad client for it."""

from ionetctl.nomad.api import NomadRegion
from ionetctl.nomad.http import CallLimits, OnWait, Wait

__all__ = ["CallLimits", "NomadRegion", "OnWait", "Wait"]
