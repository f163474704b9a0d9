# The controller. BASE is any Debian 12 with Node 20.19 or newer: the programs are bundles, built before (docker/build.sh).
ARG BASE=docker.io/library/node:20-bookworm-slim
FROM ${BASE}
COPY node_modules/ /opt/wnod/node_modules/
COPY dist/controller.js /opt/wnod/dist/
COPY dist/monitor/ /opt/wnod/dist/monitor/
COPY docker/controller.toml /etc/wnod/
ENV WNOD_HOME=/var/lib/wnod
VOLUME /var/lib/wnod
ENTRYPOINT ["node", "/opt/wnod/dist/controller.js"]
CMD ["--config", "/etc/wnod/controller.toml"]
