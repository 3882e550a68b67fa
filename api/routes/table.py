"""The endpoints that are code, by their path below /api/v1."""

from __future__ import annotations

from api.routes.kpis import FEEDBACK, METRICS
from api.routes.quality import QUALITY

COMPUTED = {endpoint.resource: endpoint for endpoint in (METRICS, FEEDBACK, QUALITY)}
