//! Durations and amounts, as people write them.

use std::time::Duration;

use provider::{format_duration, parse_bytes, parse_duration, parse_millicores};

/// Longest duration of Go, in nanoseconds.
const MAX_NANOS: u128 = i64::MAX as u128;

/// What is written reads back; nothing is longer than the longest.
pub fn run(data: &[u8]) {
    if let Some((number, _)) = data.split_first_chunk::<8>() {
        reads_back(Duration::from_nanos(u64::from_le_bytes(*number) >> 1));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(duration) = parse_duration(text) {
        assert!(duration.as_nanos() <= MAX_NANOS, "{text:?} is {duration:?}");
        reads_back(duration);
    }
    if let Some(bytes) = parse_bytes(text) {
        assert!(bytes > 0 && bytes <= i64::MAX as u64, "{text:?} is {bytes}");
    }
    if let Some(millicores) = parse_millicores(text) {
        assert!(millicores > 0, "{text:?}");
    }
}

fn reads_back(duration: Duration) {
    let text = format_duration(duration);
    assert_eq!(parse_duration(&text), Some(duration), "{text:?}");
}
