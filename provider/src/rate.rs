//! Rates of calls, such as `50/s` or `50/s burst 200`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The units, and how long they are in nanoseconds.
const UNITS: [(&str, u64); 3] =
    [("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
/// The most calls of a rate, and of a burst.
const MAX_CALLS: u32 = 1_000_000;

/// How many calls may come in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    calls: u32,
    unit: (&'static str, u64),
    burst: u32,
}

/// What is no rate, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no rate such as 50/s, 300/m or 50/s burst 200 (calls a second, minute or hour, and how \
     many may come at once; up to {MAX_CALLS})"
)]
pub struct RateError(String);

impl Rate {
    /// The time between two calls that come evenly.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.unit.1 / u64::from(self.calls))
    }

    /// How many calls may come at once after a pause: as many as those of one unit of time unless
    /// it says otherwise.
    pub fn burst(&self) -> u32 {
        self.burst
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        read(text).ok_or_else(|| RateError(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Rate> {
    let mut words = text.split_ascii_whitespace();
    let (calls, unit) = words.next()?.split_once('/')?;
    let unit = *UNITS.iter().find(|(name, _)| *name == unit)?;
    let calls = number(calls)?;
    let burst = match words.next() {
        None => calls,
        Some("burst") => number(words.next()?)?,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Rate { calls, unit, burst })
}

fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (1..=MAX_CALLS).contains(number))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, self.unit.0)?;
        match self.burst == self.calls {
            true => Ok(()),
            false => write!(f, " burst {}", self.burst),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_back() {
        for text in ["1/s", "50/s burst 200", "300/m", "1000000/h burst 1"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        let rate: Rate = " 100/s  burst 100 ".parse().unwrap();
        assert_eq!(rate.to_string(), "100/s");
        assert_eq!("300/m".parse::<Rate>().unwrap().interval(), Duration::from_millis(200));
    }

    #[test]
    fn what_is_no_rate_is_shown_with_one_that_is() {
        for bad in [
            "",
            "/s",
            "5",
            "0/s",
            "-1/s",
            "+5/s",
            "5/d",
            "5/s burst",
            "5/s burst 0",
            "5/s 6",
            "1.5/s",
        ] {
            let error = bad.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")) && error.contains("50/s"), "{error}");
        }
        assert!("1000001/s".parse::<Rate>().is_err() && "1/s burst 5 x".parse::<Rate>().is_err());
    }
}
