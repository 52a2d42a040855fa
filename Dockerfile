# `skin-edge serve` in a container: not root, with a root file system that may be read-only.
#
#   docker build -t skin-edge .
#   docker run --read-only --cap-drop all -p 127.0.0.1:8000:8000 -e SKIN_EDGE_TOKEN=... skin-edge
#
# Any base with Python 3.10 or newer and glibc, for amd64 and arm64. docs/serve.md says more.
ARG BASE=docker.io/library/python:3.13-slim-bookworm
FROM ${BASE} AS build
WORKDIR /source
COPY . .
RUN python3 -m venv /opt/skin-edge && /opt/skin-edge/bin/pip install --no-cache-dir ".[serve]"

FROM ${BASE}
COPY --from=build /opt/skin-edge /opt/skin-edge
ENV PATH=/opt/skin-edge/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["skin-edge", "serve"]
CMD ["--host", "0.0.0.0"]
