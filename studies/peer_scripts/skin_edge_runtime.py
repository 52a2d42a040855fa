"""skin-edge's own device install."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import protocol

from skin_edge.edge_runtime import SkinClassifier

given = protocol.settings()
classifier = SkinClassifier(given["model"], num_threads=given["num_threads"])
protocol.serve(lambda path: classifier.predict(path).label)
