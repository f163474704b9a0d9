# A bait with its hypervisor. Give it /dev/kvm where the host has one (`--device /dev/kvm`); it proves by itself whether that works.
ARG BASE=docker.io/library/node:20-bookworm-slim
FROM ${BASE}
RUN if command -v qemu-system-x86_64 qemu-img mkfs.ext4 > /dev/null; then exit 0; fi; \
    apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends qemu-system-x86 e2fsprogs \
    && rm -rf /var/lib/apt/lists/*
COPY dist/bait.js /opt/wnod/dist/
COPY scripts/packages.json /opt/wnod/scripts/
COPY docker/bait.toml /etc/wnod/
ENV WNOD_HOME=/var/lib/wnod
VOLUME /var/lib/wnod
ENTRYPOINT ["node", "--max-semi-space-size=8", "/opt/wnod/dist/bait.js"]
CMD ["--config", "/etc/wnod/bait.toml"]
