//! Times at which more replicas than the minimum are kept: the label `flint.dev/scale.schedule`.
//!
//! One or more windows with `;` between them, each `EXPRESSION [ZONE] [for DURATION] = REPLICAS`.
//! Without a duration the window is open in every minute that the cron expression matches; with
//! one, it opens in such a minute and stays open that long.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions, parse_crontab_with};
use jiff::Timestamp;

use crate::parse_duration;

/// Most windows of one function: each is looked at once a minute.
const MAX_WINDOWS: usize = 32;
/// Longest that a window is open after its expression has matched.
const MAX_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);
/// Seconds of a minute: windows open and close at whole minutes.
const MINUTE: i64 = 60;
/// A moment after which each expression that ever matches must do so, 2024-01-01: it is in a leap
/// year.
const SOME_DAY: i64 = 1_704_067_200;

/// Windows of time, and how many replicas each keeps.
#[derive(Clone, Default)]
pub struct Schedule {
    text: String,
    windows: Vec<Window>,
}

#[derive(Clone)]
struct Window {
    crontab: Crontab,
    length: Option<Duration>,
    replicas: u32,
}

impl Schedule {
    /// Reads windows. An error says which of them is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<_> =
            text.split(';').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > MAX_WINDOWS {
            return Err(format!("{} windows are more than {MAX_WINDOWS}", parts.len()));
        }
        let window = |part: &&str| Window::parse(part).map_err(|why| format!("{part:?}: {why}"));
        let windows = parts.iter().map(window).collect::<Result<_, _>>()?;
        Ok(Self { text: text.trim().to_owned(), windows })
    }

    /// Whether there is no window at all.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// The most that any window keeps, whether it is open or not.
    pub fn highest(&self) -> u32 {
        self.windows.iter().map(|window| window.replicas).max().unwrap_or(0)
    }

    /// How many replicas are kept at this moment: the most of all windows that are open, else 0.
    pub fn floor(&self, now: Timestamp) -> u32 {
        let minute = now.as_second().div_euclid(MINUTE) * MINUTE;
        let open = self.windows.iter().filter(|window| window.is_open(minute));
        open.map(|window| window.replicas).max().unwrap_or(0)
    }
}

impl Window {
    fn parse(text: &str) -> Result<Self, String> {
        let (times, replicas) = text.rsplit_once('=').ok_or("it has no `= REPLICAS` at its end")?;
        let replicas = match replicas.trim().parse() {
            Ok(0) | Err(_) => {
                return Err(format!("{:?} is not a number of replicas above 0", replicas.trim()));
            }
            Ok(replicas) => replicas,
        };
        let (expression, length) = match times.rsplit_once(" for ") {
            Some((expression, length)) => (expression, Some(length_of(length.trim())?)),
            None => (times, None),
        };
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = parse_crontab_with(expression.trim(), options).map_err(|error| {
            let what = "minute hour day-of-month month day-of-week [time zone]";
            format!("it is not a cron expression ({what}): {}", one_line(&error.to_string()))
        })?;
        if next(&crontab, SOME_DAY).is_none() {
            return Err("that never comes".to_owned());
        }
        Ok(Self { crontab, length, replicas })
    }

    fn is_open(&self, minute: i64) -> bool {
        match self.length {
            None => MakeTimestamp::from_second(minute)
                .and_then(|now| self.crontab.matches(now))
                .unwrap_or(false),
            Some(length) => {
                let since = minute.saturating_sub(length.as_secs() as i64);
                next(&self.crontab, since).is_some_and(|opens| opens <= minute)
            }
        }
    }
}

/// The first second after this one at which the expression matches.
fn next(crontab: &Crontab, after: i64) -> Option<i64> {
    let after = MakeTimestamp::from_second(after).ok()?;
    crontab.find_next(after).ok().map(|next| next.timestamp().as_second())
}

fn length_of(text: &str) -> Result<Duration, String> {
    let whole_minutes = |length: &Duration| {
        length.as_secs().is_multiple_of(MINUTE as u64) && length.subsec_nanos() == 0
    };
    parse_duration(text)
        .filter(|length| !length.is_zero() && *length <= MAX_LENGTH && whole_minutes(length))
        .ok_or_else(|| format!("{text:?} is not whole minutes such as 90m or 12h, at most 168h"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(spec: &str, now: &str) -> u32 {
        Schedule::parse(spec).unwrap().floor(now.parse().unwrap())
    }

    fn open_minutes(spec: &str, from: &str, hours: i64) -> i64 {
        let (schedule, begin) =
            (Schedule::parse(spec).unwrap(), from.parse::<Timestamp>().unwrap());
        let at = |minute: i64| Timestamp::from_second(begin.as_second() + 60 * minute).unwrap();
        (0..hours * 60).filter(|minute| schedule.floor(at(*minute)) > 0).count() as i64
    }

    const WEEKDAYS: &str = "* 8-19 * * Mon-Fri Europe/Berlin = 5";

    #[test]
    fn weekdays_from_8_to_20() {
        // 2026-06-05 is a Friday, and Berlin is two hours ahead of UTC.
        let cases = [
            ("2026-06-05T05:59:59Z", 0),
            ("2026-06-05T06:00:00Z", 5),
            ("2026-06-05T17:59:59.999Z", 5),
            ("2026-06-05T18:00:00Z", 0),
            ("2026-06-06T09:00:00Z", 0),
            ("2026-12-04T06:30:00Z", 0),
            ("2026-12-04T07:00:00Z", 5),
        ];
        for (now, replicas) in cases {
            assert_eq!(floor(WEEKDAYS, now), replicas, "{now}");
        }
    }

    #[test]
    fn where_windows_overlap_the_highest_counts() {
        let spec = "* 8-19 * * * = 2; 0 12 * * * for 90m = 7 ;* 10-11 * * * UTC = 3;";
        for (now, replicas) in [
            ("2026-06-05T07:59:00Z", 0),
            ("2026-06-05T09:00:00Z", 2),
            ("2026-06-05T11:59:59Z", 3),
            ("2026-06-05T12:00:00Z", 7),
            ("2026-06-05T13:29:59Z", 7),
            ("2026-06-05T13:30:00Z", 2),
        ] {
            assert_eq!(floor(spec, now), replicas, "{now}");
        }
        assert_eq!(Schedule::parse(spec).unwrap().highest(), 7);
    }

    #[test]
    fn a_window_may_last_past_midnight_and_the_weekend() {
        let spec = "0 22 * * Fri for 58h = 4";
        assert_eq!(floor(spec, "2026-06-05T21:59:00Z"), 0);
        assert_eq!(floor(spec, "2026-06-07T12:00:00Z"), 4);
        assert_eq!(floor(spec, "2026-06-08T07:59:59Z"), 4);
        assert_eq!(floor(spec, "2026-06-08T08:00:00Z"), 0);
    }

    #[test]
    fn when_clocks_go_forward_the_hour_that_is_left_out_opens_nothing() {
        // In Berlin 2026-03-29 has no time from 2:00 to 3:00.
        let (day, zone) = ("2026-03-28T23:00:00Z", "Europe/Berlin");
        assert_eq!(open_minutes(&format!("* 2 * * * {zone} = 1"), day, 23), 0);
        assert_eq!(open_minutes(&format!("* 1-3 * * * {zone} = 1"), day, 23), 120);
        assert_eq!(open_minutes(&format!("* 8-19 * * * {zone} = 1"), day, 23), 720);
        assert_eq!(open_minutes(&format!("0 1 * * * {zone} for 3h = 1"), day, 23), 180);
    }

    #[test]
    fn when_clocks_go_back_the_hour_that_comes_twice_is_open_twice() {
        // In Berlin 2026-10-25 has 2:00 to 3:00 twice.
        let (day, zone) = ("2026-10-24T22:00:00Z", "Europe/Berlin");
        assert_eq!(open_minutes(&format!("* 2 * * * {zone} = 1"), day, 25), 120);
        assert_eq!(open_minutes(&format!("* 1-3 * * * {zone} = 1"), day, 25), 240);
        assert_eq!(open_minutes(&format!("0 1 * * * {zone} for 3h = 1"), day, 25), 180);
    }

    #[test]
    fn zones_are_known_without_the_machine() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        assert!(bundled.get("America/Argentina/Buenos_Aires").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let many = "* * * * * = 1;".repeat(MAX_WINDOWS + 1);
        for (spec, words) in [
            ("* 8-19 * * Mon-Fri Europe/Berlin", "= REPLICAS"),
            ("* 8-19 * * Mon-Fri = many", "above 0"),
            ("* 8-19 * * Mon-Fri = 0", "above 0"),
            ("* 8-24 * * Mon-Fri = 1", "cron expression"),
            ("* 8 * * Mon-Fri Europe/Atlantis = 1", "Atlantis"),
            ("weekdays = 1", "cron expression"),
            ("= 1", "cron expression"),
            ("0 0 30 2 * = 1", "never comes"),
            ("0 8 * * * for 90s = 1", "whole minutes"),
            ("0 8 * * * for 169h = 1", "at most 168h"),
            ("0 8 * * * for ever = 1", "whole minutes"),
            (&many, "33 windows"),
        ] {
            let error = Schedule::parse(spec).unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{spec}: {error}");
        }
        assert!(Schedule::parse(" ; ").unwrap().is_empty());
    }
}
