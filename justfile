# Every recipe is one line that can be typed without `just`.

# All checks, as CI runs them
check: fmt clippy test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --release -- -D warnings

test:
    cargo test --workspace --release

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --release

sweep:
    cargo run --release -p distill -- sweep

# Licences, sources and bans of all dependencies (`cargo install cargo-deny`); `advisories` beside them needs a network
deny:
    cargo deny check licenses bans sources

# What the binary is made of, as CycloneDX
sbom:
    .ci/sbom > serpentine.cdx.json
