"""The adapter of a regional Nomad API: nothing else imports an HTTP or Nomad client for it."""

from ionetctl.nomad.api import NomadRegion
from ionetctl.nomad.http import Patience

__all__ = ["NomadRegion", "Patience"]
