# vqwatch on CPU. `docker build -t vqwatch .`, then see docker-compose.yml.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY engines engines
COPY monitor monitor
COPY training training
# The run-time install has no torch, and no wheel of it needs a compiler.
RUN python -m venv /opt/vqwatch \
    && pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /opt/vqwatch/bin/pip install --no-cache-dir /wheels/*.whl

FROM python:3.11-slim-bookworm
# SRT feeds; PyAV's wheel has none.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libsrt1.5-openssl \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/vqwatch vqwatch
COPY --from=build /opt/vqwatch /opt/vqwatch
ENV PATH=/opt/vqwatch/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/vqwatch
EXPOSE 8080
STOPSIGNAL SIGTERM
# Liveness, not readiness: a feed or a broker that is away is no reason to restart the monitor. No curl in the image.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/livez'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["vqwatch"]
CMD ["run", "-c", "/etc/vqwatch/config.yaml"]
