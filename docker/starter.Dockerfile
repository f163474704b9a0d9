# The job starter, for batch systems that run jobs in containers: mount the bait's home, give the job as arguments.
ARG BASE=docker.io/library/node:20-bookworm-slim
FROM ${BASE}
COPY dist/starter.cjs dist/wnod-starter dist/wnod-exec.node /opt/wnod/dist/
ENV WNOD_HOME=/var/lib/wnod
ENTRYPOINT ["/opt/wnod/dist/wnod-starter"]
CMD ["--help"]
