# The service in a small image, as a user without rights.
#
#   docker build -t stock .                                 builds it inside, from the Rust image
#   cargo build --release -p stock && docker build --target host -t stock .
#                                                           takes the program that the host has built
#
# The second way is for machines that reach no registry of images or crates from inside a build: it runs nothing that needs
# a network. It comes first in this file because builders without BuildKit make every stage before the one they are asked
# for. The host's C library must not be newer than the image's, and authorities for TLS to databases and lock nodes have to
# be mounted (SSL_CERT_FILE).

ARG BASE=debian:bookworm-slim
ARG RUST=rust:1.95-slim-bookworm

FROM ${BASE} AS base
RUN useradd --system --uid 10001 --home-dir /var/lib/stock --create-home stock
USER 10001
WORKDIR /var/lib/stock
EXPOSE 8080
# Beyond the loopback the service wants STOCK_API_TOKEN, and does not begin without.
ENV STOCK_BIND=0.0.0.0:8080
HEALTHCHECK --interval=5s --timeout=4s --retries=12 CMD ["stock", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["stock"]
CMD ["serve"]

FROM base AS host
ARG PROGRAM=target/release/stock
COPY ${PROGRAM} /usr/local/bin/stock

FROM ${RUST} AS build
WORKDIR /build
COPY . .
RUN cargo build --locked --release -p stock

FROM base AS service
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/stock /usr/local/bin/stock
