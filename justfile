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
