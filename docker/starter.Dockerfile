# The job starter, for batch systems that run jobs in containers: mount the bait's home, give the job as arguments.
ARG BASE=docker.io/library/node:20-bookworm-slim
FROM ${BASE}
COPY dist/starter.cjs /opt/wnod/dist/
ENV WNOD_HOME=/var/lib/wnod
ENTRYPOINT ["node", "/opt/wnod/dist/starter.cjs"]
CMD ["--help"]
