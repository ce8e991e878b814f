# Two stages: the build has the toolchain, the image has one binary and runs as an ordinary user.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock rustfmt.toml clippy.toml ./
COPY crates crates
COPY tests tests
COPY web web
COPY migrations migrations
COPY .sqlx .sqlx
RUN SQLX_OFFLINE=true cargo build --release --locked --package wavemark --bin wavemark

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home wavemark
COPY --from=build /build/target/release/wavemark /usr/local/bin/wavemark
USER 10001
EXPOSE 8080
ENTRYPOINT ["wavemark"]
