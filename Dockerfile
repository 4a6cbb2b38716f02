# Two small images: a static program on an empty base, run by a user other than root. `bash deploy.sh --docker` builds
# them in one of two ways:
#
#   docker build --target server .                                  compiles inside Docker, in BUILD_IMAGE
#   docker build --target server-prebuilt --file Dockerfile DIR     takes static programs from DIR; pulls nothing
#
# and likewise `client`. A builder without BuildKit runs every stage above the one that is wanted: hence the order, and
# hence stages for static programs that succeed where there are none.

# Any image with Rust, a linker and sh: the Rust version is in Cargo.toml.
ARG BUILD_IMAGE=rust:1.95

# An empty directory, since nothing on an empty base could make one.
FROM scratch AS tree
LABEL kvpaxos.stage=build
WORKDIR /tree/kvpaxos-data

FROM scratch AS server-prebuilt
# A volume that is mounted over a directory of an image takes over its owner.
COPY --from=tree --chown=65532:65532 /tree/ /
COPY LICENSE kvpaxos-server* /
USER 65532:65532
# The directory of the files is ./kvpaxos-data by default, and not named here, because --memory is refused beside --data.
WORKDIR /
VOLUME ["/kvpaxos-data"]
ENV KVPAXOS_TCP=0.0.0.0:1111 KVPAXOS_UDP=0.0.0.0:5555 KVPAXOS_LISTEN_PEERS=0.0.0.0:7111
EXPOSE 1111/tcp 5555/udp 7111/tcp
HEALTHCHECK --interval=5s --timeout=3s --start-period=120s --retries=3 CMD ["/kvpaxos-server", "--health"]
ENTRYPOINT ["/kvpaxos-server"]

FROM scratch AS client-prebuilt
COPY LICENSE kvpaxos-client* /
USER 65532:65532
# The prompt has no home here, and what is typed into a container goes with it.
ENV KVPAXOS_HISTORY=none
ENTRYPOINT ["/kvpaxos-client"]

FROM ${BUILD_IMAGE} AS build
LABEL kvpaxos.stage=build
WORKDIR /kvpaxos
COPY . .
# What --version says.
ARG COMMIT=unknown
RUN KVPAXOS_COMMIT=$COMMIT CARGO_TARGET_DIR=/tmp/target sh scripts/static-programs.sh /out && rm -rf /tmp/target

FROM client-prebuilt AS client
COPY --from=build /out/kvpaxos-client /

FROM server-prebuilt AS server
COPY --from=build /out/kvpaxos-server /
