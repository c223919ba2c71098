# The doctor alone: `scan`, `known`, `explain`, `check --static`, and `check` of an environment that is mounted with its Python.
FROM python:3.12-slim AS build
COPY . /source
RUN python -m venv /opt/ckptdoctor && /opt/ckptdoctor/bin/pip install --no-cache-dir /source

FROM python:3.12-slim
COPY --from=build /opt/ckptdoctor /opt/ckptdoctor
RUN useradd --create-home doctor
USER doctor
ENV PATH=/opt/ckptdoctor/bin:$PATH
WORKDIR /work
ENTRYPOINT ["ckptdoctor"]
CMD ["--help"]
