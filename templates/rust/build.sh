# build.sh: builds ./server in this folder, on a machine without Docker. What cargo makes on the way is kept in $BUILD_CACHE,
# so that the next build compiles only what has changed.
set -eu
cd "$(dirname "$0")"

# Where cargo cannot keep the crates that it downloads, they are kept with the rest.
home="${CARGO_HOME:-${HOME:-}/.cargo}"
if ! { mkdir -p "$home" 2>/dev/null && [ -w "$home" ]; }; then
  export CARGO_HOME="$BUILD_CACHE/cargo"
  mkdir -p "$CARGO_HOME"
  if [ -r "$home/config.toml" ]; then cp "$home/config.toml" "$CARGO_HOME"; fi
fi
if [ -e function/Cargo.lock ]; then cp function/Cargo.lock Cargo.lock; fi

# Half a second for a change of the function instead of three.
export CARGO_PROFILE_RELEASE_INCREMENTAL="${CARGO_PROFILE_RELEASE_INCREMENTAL:-true}"

# A target is named since a configuration above this folder may name another one.
target=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$target" --target-dir "$BUILD_CACHE/target"
cp "$BUILD_CACHE/target/$target/release/server" server
