"""skin-edge's own device install."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import serving

from skin_edge.edge_runtime import SkinClassifier

given = serving.settings()
classifier = SkinClassifier(given["model"], num_threads=given["num_threads"])
serving.serve(lambda path: classifier.predict(path).label)
