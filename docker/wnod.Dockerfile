# The command line, for people: `docker compose run --rm wnod hosts`.
ARG BASE=docker.io/library/node:20-bookworm-slim
FROM ${BASE}
COPY dist/wnod.js dist/starter.cjs /opt/wnod/dist/
ENV WNOD_HOME=/var/lib/wnod
ENTRYPOINT ["node", "/opt/wnod/dist/wnod.js"]
CMD ["--help"]
