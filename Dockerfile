# The first stage installs what production needs into a virtual environment of its own; the second takes that and the
# package, and nothing that could install or build anything.

FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY requirements.txt .
# Wheels alone: what would have to be compiled is an error here, not a compiler in the image. And only files whose
# hashes are pinned.
RUN pip --python /venv/bin/python install --no-cache-dir --only-binary=:all: --require-hashes --requirement requirements.txt

FROM python:3.13-slim
RUN pip uninstall --yes pip \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin payment
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PORT=8080
WORKDIR /app
COPY --from=build /venv /venv
COPY payment payment
COPY run.py .
RUN ["python", "-m", "compileall", "-q", "/app", "/venv/lib"]
USER 10001
EXPOSE 8080
# It drains on SIGTERM within 25 s: give it 30 before SIGKILL (`docker stop --time 30`).
STOPSIGNAL SIGTERM
# /healthz and not /readyz: a restart helps a service that is stuck, and not one whose database is away.
# It asks the address that HOST and PORT say, by the service's own rule. It takes 50 ms, most of it Python's start.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-m", "payment.healthcheck"]
CMD ["python", "run.py"]
