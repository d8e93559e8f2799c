# The downloader as an image for init containers: python -m objstore.downloader CONFIG.
FROM python:3.12-slim AS build
COPY settings.ini setup.py pyproject.toml MANIFEST.in README.md LICENSE /src/
COPY objstore /src/objstore
RUN python -m venv /opt/objstore
RUN /opt/objstore/bin/pip install --no-cache-dir "/src[s3,gcs,azure,hf,fast]"

FROM python:3.12-slim
COPY --from=build /opt/objstore /opt/objstore
# Nothing is written but what is fetched, so the root file system may be read-only.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
ENTRYPOINT ["/opt/objstore/bin/python", "-m", "objstore.downloader"]
CMD ["--help"]
