# The first stage installs the production requirements into a virtual environment. The second stage copies that and the
# package; it has no tool that installs or builds.

FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /venv
COPY requirements.txt .
# Only wheels: a package that would have to be compiled fails the build. And only files whose hashes are pinned.
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
# The service drains on SIGTERM within 25 s: allow 30 s before SIGKILL (`docker stop --time 30`).
STOPSIGNAL SIGTERM
# /healthz, not /readyz: a restart helps a service that hangs, and does not help one whose database is down.
# The check uses HOST and PORT by the service's own rules. It takes 50 ms, most of it Python's start.
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s --retries=3 \
    CMD ["python", "-m", "payment.healthcheck"]
CMD ["python", "run.py"]
