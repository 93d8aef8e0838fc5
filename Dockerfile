# The image of one daemon: its directory is /srv/nexus, which is to be mounted. docs/deploying.md says how.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY nexus_supervisor nexus_supervisor
COPY workers workers
RUN python -m venv /opt/nexus && /opt/nexus/bin/pip install --no-cache-dir ".[postgres]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/nexus /opt/nexus
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin nexus \
    && install -d -o nexus -g nexus -m 0750 /srv/nexus
ENV NEXUS_HOME=/srv/nexus \
    PATH=/opt/nexus/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /srv/nexus
VOLUME ["/srv/nexus"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
ENTRYPOINT ["nexus-supervisor"]
CMD ["run", "-b", "0.0.0.0:8080"]
