//! Durations as Go writes them, or whole seconds (contract, head).

use std::time::Duration;

/// Units of Go's `time.ParseDuration`, longest spelling first, in nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Longest duration that is taken: about 292 years, as in Go.
const MAX_NANOS: f64 = i64::MAX as f64;

/// Reads `30`, `300ms`, `1m05s`, `1.5h`. `None` when it is neither seconds nor a Go duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, scale) =
            UNITS.iter().filter(|(unit, _)| unit_at(rest, unit)).max_by_key(|u| u.0.len())?;
        nanos += number * scale;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty() && nanos <= MAX_NANOS).then(|| Duration::from_nanos(nanos.round() as u64))
}

fn unit_at(rest: &str, unit: &str) -> bool {
    rest.strip_prefix(unit)
        .is_some_and(|tail| tail.chars().next().is_none_or(|c| c.is_ascii_digit() || c == '.'))
}

/// Writes a duration so that [`parse_duration`] and Go read it back: `1m5s`, `300ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos != 0 {
        let seconds = format!("{seconds}.{nanos:09}");
        return format!("{}s", seconds.trim_end_matches('0'));
    }
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let text: String =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_and_seconds() {
        let cases = [
            ("0", 0),
            ("30", 30_000),
            ("300ms", 300),
            ("1m05s", 65_000),
            ("2h", 7_200_000),
            ("1.5h", 5_400_000),
            ("1h2m3s4ms", 3_723_004),
        ];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("5us"), Some(Duration::from_micros(5)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "s", "-1s", "1x", "1 s", "1d", "5minutes", ".", "1e9h", "99999999999999999999"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for ms in [0, 1, 300, 1000, 65_000, 3_600_000, 3_723_004] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}
