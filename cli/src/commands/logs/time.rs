//! How times are written: as strftime has it, or as Go's layouts do.

use std::str::FromStr;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The parts of Go's reference time and what they are in strftime, longest first where one
/// starts with another.
const GO: [(&str, &str); 23] = [
    ("2006", "%Y"),
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("Z07:00", "Z"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    (".999999999", "%.f"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("%", "%%"),
];

/// How times are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeFormat {
    strftime: String,
}

impl FromStr for TimeFormat {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let strftime = if text.contains('%') { text.to_owned() } else { from_go(text) };
        let format = Self { strftime };
        format.write(Timestamp::UNIX_EPOCH)?;
        Ok(format)
    }
}

impl TimeFormat {
    /// The time in UTC.
    pub(super) fn write(&self, time: Timestamp) -> Result<String> {
        let time = time.to_zoned(TimeZone::UTC);
        jiff::fmt::strtime::format(&self.strftime, &time).context("not a layout of times")
    }
}

fn from_go(layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((go, strftime)) = GO.iter().find(|(go, _)| rest.starts_with(go)) {
            out.push_str(strftime);
            rest = &rest[go.len()..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_layouts_and_strftime() {
        let time: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let write = |layout: &str| layout.parse::<TimeFormat>().unwrap().write(time).unwrap();
        assert_eq!(write("2006-01-02T15:04:05Z07:00"), "2026-01-02T03:04:05Z");
        assert_eq!(write("2006-01-02 15:04:05.000"), "2026-01-02 03:04:05.678");
        assert_eq!(write("Mon Jan _2 15:04:05 2006"), "Fri Jan  2 03:04:05 2026");
        assert_eq!(write("%H:%M"), "03:04");
        assert_eq!(write(""), "");
        assert!("%".parse::<TimeFormat>().is_err());
    }
}
