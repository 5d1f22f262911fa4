//! Durations as Go writes them, or whole seconds (contract, head).

use std::time::Duration;

/// Units of Go's `time.ParseDuration`, in nanoseconds.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Longest duration that is taken: about 292 years, as in Go.
const MAX_NANOS: u128 = i64::MAX as u128;

/// Digits behind the point that count; those after them are less than a nanosecond of any unit.
const MAX_FRACTION: usize = 18;

/// Reads `30`, `300ms`, `1m05s`, `1.5h`. `None` when it is neither seconds nor a Go duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let nanos = match !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u128>().ok()?.checked_mul(1_000_000_000)?,
        false => parts(text.strip_prefix('+').unwrap_or(text))?,
    };
    (nanos <= MAX_NANOS).then(|| Duration::from_nanos(nanos as u64))
}

/// The sum of `1h`, `30m` and so on, in nanoseconds; at least one of them.
fn parts(text: &str) -> Option<u128> {
    let (mut rest, mut nanos) = (text, None);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let (unit, scale) =
            UNITS.iter().filter(|(unit, _)| unit_at(tail, unit)).max_by_key(|u| u.0.len())?;
        nanos = Some(scaled(number, *scale)?.checked_add(nanos.unwrap_or(0))?);
        rest = &tail[unit.len()..];
        if nanos > Some(MAX_NANOS) {
            return None;
        }
    }
    nanos
}

/// `number`, digits with a point or none, times `scale`; what is less than one is left out.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(MAX_FRACTION)];
    let integer = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    let whole: u128 = integer(whole)?;
    let part = integer(fraction)? * scale / 10u128.pow(fraction.len() as u32);
    whole.checked_mul(scale)?.checked_add(part)
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
        for text in [
            "", "+", "s", "-1s", "1x", "1 s", "1d", "5minutes", ".", ".s", "1.2.3s", "1e9h", "1m30",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn fractions_are_exact_and_end_below_a_nanosecond() {
        let cases = [
            ("4150796143.268803608s", 4_150_796_143_268_803_608),
            ("9223372036.854775807s", i64::MAX as u64),
            ("0.1s", 100_000_000),
            (".5h", 1_800_000_000_000),
            ("1.s", 1_000_000_000),
            ("1.9ns", 1),
            ("0.0000000000000000000000000001h", 0),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_would_overflow_a_clock_is_refused() {
        assert!(parse_duration("9223372036").is_some());
        for text in ["9223372037", "18446744073709551615", "9223372036.854775808s", "2562048h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(parse_duration(&"9".repeat(300)), None);
        assert_eq!(parse_duration(&format!("{}h", "9".repeat(39))), None);
        assert_eq!(parse_duration(&"9223372036s".repeat(2)), None);
        assert_eq!(parse_duration(&format!("1s{}ns", u128::MAX)), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        for ms in [0, 1, 300, 1000, 65_000, 3_600_000, 3_723_004] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}
