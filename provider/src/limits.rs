//! What bounds the calls of a function: one time for all hops, how many a replica takes at a
//! time, how many wait, and how many come in a time.
//!
//! The annotation `flint.dev/timeout` is the one place where a time is said. The watchdog's
//! variables follow from it; those that are set all the same must not contradict it.

use std::time::Duration;

use crate::function::annotation;
use crate::rate::RateError;
use crate::{Error, Function, Rate, Result, format_duration, parse_duration};

/// The timeout of functions that name none.
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// After so long without an answer a replica's status says so.
#[cfg(any(feature = "replicas", feature = "kubernetes"))]
pub(crate) const LISTEN_TIMEOUT: Duration = Duration::from_secs(60);

/// The watchdog's variable for the longest that a call may take.
const EXEC_TIMEOUT: &str = "exec_timeout";
/// Those that must not end a call before that: in watchdogs of others they bound the reading of a
/// request and the writing of its answer.
const AROUND: [&str; 2] = ["read_timeout", "write_timeout"];
/// The watchdog's variable for the most calls at a time.
const MAX_INFLIGHT: &str = "max_inflight";
/// What a watchdog takes to end after its last call: the function is asked to, and after 5 s killed.
const FAREWELL: Duration = Duration::from_secs(10);

impl Function {
    /// Checks what bounds its calls. An error names the field.
    pub fn check_limits(&self) -> Result<()> {
        self.timeout()?;
        self.max_inflight()?;
        self.max_queue()?;
        self.rate_limit().map(drop)
    }

    /// The longest that one call may take: the annotation, else the variable `exec_timeout`.
    ///
    /// `None` when neither is set, or `exec_timeout` is 0 or no duration.
    ///
    /// # Errors
    /// When the annotation is no duration, or a variable contradicts it; both values are named.
    pub fn timeout(&self) -> Result<Option<Duration>> {
        let Some(text) = self.annotations.get(annotation::TIMEOUT) else {
            let exec = self.variable(EXEC_TIMEOUT).and_then(parse_duration);
            return Ok(exec.filter(|timeout| !timeout.is_zero()));
        };
        let good = parse_duration(text).filter(|timeout| !timeout.is_zero());
        let bad =
            || Error::invalid(annotation::TIMEOUT, format!("{text:?} is not a duration above 0"));
        let timeout = good.ok_or_else(bad)?;
        self.agrees(EXEC_TIMEOUT, text, |exec| exec == timeout)?;
        for key in AROUND {
            self.agrees(key, text, |around| around >= timeout)?;
        }
        Ok(Some(timeout))
    }

    /// How long whoever stops a replica waits for it: as long as a call may take, and a little
    /// for the end itself. `default` is the timeout of functions that name none.
    pub fn stop_grace(&self, default: Duration) -> Duration {
        self.timeout().ok().flatten().unwrap_or(default).saturating_add(FAREWELL)
    }

    /// The most calls that one replica takes at a time: the variable `max_inflight`, else the
    /// annotation. `None`, as 0, is no limit. An error names the field.
    pub fn max_inflight(&self) -> Result<Option<u32>> {
        let annotated = self.annotations.get(annotation::MAX_INFLIGHT).map(|text| text.trim());
        let annotated = annotated.filter(|text| !text.is_empty());
        let variable = self.variable(MAX_INFLIGHT);
        let variable = variable.map(|text| number(&field(MAX_INFLIGHT), text)).transpose()?;
        let annotated = annotated.map(|text| number(annotation::MAX_INFLIGHT, text)).transpose()?;
        Ok(variable.or(annotated).filter(|most| *most > 0))
    }

    /// The most calls that wait at a gateway for a free slot. `None` leaves it to the gateway; 0
    /// lets none wait. An error names the field.
    pub fn max_queue(&self) -> Result<Option<u32>> {
        let text = self.annotations.get(annotation::MAX_QUEUE).map(|text| text.trim());
        let bad = |text: &str| {
            let reason = format!("{text:?} is not a whole number of calls; 0 lets none wait");
            Error::invalid(annotation::MAX_QUEUE, reason)
        };
        text.map(|text| text.parse().map_err(|_| bad(text))).transpose()
    }

    /// The most calls that a gateway takes in a time. `None` is no limit. An error names the field.
    pub fn rate_limit(&self) -> Result<Option<Rate>> {
        let text = self.annotations.get(annotation::RATE_LIMIT);
        let read = |text: &String| {
            text.parse().map_err(|reason: RateError| {
                Error::invalid(annotation::RATE_LIMIT, reason.to_string())
            })
        };
        text.map(read).transpose()
    }

    /// The variables that tell the watchdog the limits, as far as its own do not.
    pub(crate) fn limit_variables(&self) -> Vec<(String, String)> {
        let timeout = self.timeout().ok().flatten();
        let timeout = timeout.filter(|_| self.annotations.contains_key(annotation::TIMEOUT));
        let most = self.max_inflight().ok().flatten();
        let times = [EXEC_TIMEOUT].into_iter().chain(AROUND);
        let times = times.filter_map(|key| Some((key, format_duration(timeout?))));
        let all = times.chain(most.map(|most| (MAX_INFLIGHT, most.to_string())));
        let open = all.filter(|(key, _)| self.variable(key).is_none());
        open.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// A variable that is set; to the watchdog an empty one is not.
    fn variable(&self, key: &str) -> Option<&str> {
        self.env_vars.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// Refuses a variable that does not go together with the annotation `timeout`.
    fn agrees(&self, key: &str, timeout: &str, fits: impl Fn(Duration) -> bool) -> Result<()> {
        let Some(text) = self.variable(key) else { return Ok(()) };
        if parse_duration(text).is_some_and(fits) {
            return Ok(());
        }
        let wanted = if key == EXEC_TIMEOUT { "the same" } else { "at least as long" };
        let reason = format!(
            "{text:?} contradicts the timeout {timeout:?} ({}): leave the variable out, which \
             follows from the timeout, or make it {wanted}",
            annotation::TIMEOUT
        );
        Err(Error::invalid(field(key), reason))
    }
}

/// A variable's place in a deploy request.
fn field(variable: &str) -> String {
    format!("envVars.{variable}")
}

fn number(field: &str, text: &str) -> Result<u32> {
    let reason = || format!("{text:?} is not a whole number of calls; 0 is no limit");
    text.parse().map_err(|_| Error::invalid(field, reason()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(variables: &[(&str, &str)], annotations: &[(&str, &str)]) -> Function {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        Function {
            service: "f".into(),
            image: "i".into(),
            env_vars: map(variables),
            annotations: map(annotations),
            ..Function::default()
        }
    }

    fn timed(timeout: &str, variables: &[(&str, &str)]) -> Function {
        function(variables, &[(annotation::TIMEOUT, timeout)])
    }

    #[test]
    fn one_timeout_gives_all_the_others() {
        let function = timed("2m", &[("write_timeout", "3m"), ("read_timeout", "")]);
        assert!(function.validate().is_ok());
        let seconds = Duration::from_secs;
        assert_eq!(function.timeout().unwrap(), Some(seconds(120)));
        assert_eq!(function.stop_grace(seconds(60)), seconds(130));
        let told = function.environment();
        let told = |key: &str| told[key].as_str();
        assert_eq!(
            (told(EXEC_TIMEOUT), told("read_timeout"), told("write_timeout")),
            ("2m", "2m", "3m")
        );
        assert!(
            timed("90s", &[("exec_timeout", "1m30s"), ("write_timeout", "90")]).validate().is_ok()
        );
    }

    #[test]
    fn without_it_the_watchdogs_variable_counts() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let of = |text| function(&[(EXEC_TIMEOUT, text)], &[]);
        for (text, timeout) in [("5s", seconds(5)), ("90", seconds(90)), ("0", None), ("x", None)] {
            assert_eq!(of(text).timeout().unwrap(), timeout, "{text}");
            assert_eq!(of(text).environment()[EXEC_TIMEOUT], text);
        }
        let none = function(&[], &[]);
        assert_eq!(none.stop_grace(Duration::from_secs(60)), Duration::from_secs(70));
        assert!(!none.environment().contains_key("read_timeout"));
    }

    #[test]
    fn contradictions_are_refused_and_both_values_named() {
        let cases = [
            ("10s", "exec_timeout", "30s"),
            ("10s", "exec_timeout", "5s"),
            ("10s", "exec_timeout", "0"),
            ("10s", "exec_timeout", "soon"),
            ("1m", "read_timeout", "59s"),
            ("1m", "write_timeout", "30"),
            ("1m", "write_timeout", "0s"),
        ];
        for (timeout, variable, value) in cases {
            let error = timed(timeout, &[(variable, value)]).validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("envVars.{variable}: {value:?} ")), "{error}");
            assert!(error.contains(&format!("timeout {timeout:?}")), "{error}");
        }
    }

    #[test]
    fn calls_at_a_time_come_from_the_variable_then_the_annotation() {
        let cases = [
            (None, None, None),
            (Some("4"), None, Some(4)),
            (None, Some("8"), Some(8)),
            (Some("4"), Some("8"), Some(4)),
            (Some("0"), Some("8"), None),
            (Some(" "), Some(" 8 "), Some(8)),
            (None, Some("0"), None),
        ];
        for (variable, annotated, most) in cases {
            let variables: Vec<_> = variable.map(|text| (MAX_INFLIGHT, text)).into_iter().collect();
            let annotated = annotated.map(|text| (annotation::MAX_INFLIGHT, text));
            let annotated: Vec<_> = annotated.into_iter().collect();
            let function = function(&variables, &annotated);
            assert_eq!(function.max_inflight().unwrap(), most, "{variables:?} {annotated:?}");
            let told = function.environment().get(MAX_INFLIGHT).cloned();
            let told = told.map(|text| text.trim().parse().unwrap()).filter(|n: &u32| *n > 0);
            assert_eq!(told, most, "{variables:?} {annotated:?}");
        }
    }

    #[test]
    fn calls_that_wait_have_a_bound_of_their_own() {
        let of = |annotations: &[_]| function(&[], annotations);
        assert_eq!(of(&[]).max_queue().unwrap(), None);
        for (text, most) in [("0", 0), (" 12 ", 12)] {
            let function = of(&[(annotation::MAX_QUEUE, text)]);
            assert_eq!(function.max_queue().unwrap(), Some(most));
        }
        let error = of(&[(annotation::MAX_QUEUE, "all")]).validate().unwrap_err().to_string();
        assert!(error.starts_with("flint.dev/max-queue: ") && error.contains("all"), "{error}");
    }

    #[test]
    fn a_rate_is_read_or_the_annotation_named() {
        let of = |text| function(&[], &[(annotation::RATE_LIMIT, text)]);
        let rate = of("50/s burst 200").rate_limit().unwrap().unwrap();
        assert_eq!((rate.interval(), rate.burst()), (Duration::from_millis(20), 200));
        assert_eq!(function(&[], &[]).rate_limit().unwrap(), None);
        for bad in ["", "50", "0/s", "fast", "50/day"] {
            let error = of(bad).validate().unwrap_err().to_string();
            assert!(error.starts_with("flint.dev/rate-limit: "), "{error}");
            assert!(error.contains(bad) && error.contains("50/s burst 200"), "{error}");
        }
    }

    #[test]
    fn a_bad_number_of_calls_is_refused_and_the_field_named() {
        for bad in ["many", "-1", "1.5", "4294967296"] {
            let error = function(&[(MAX_INFLIGHT, bad)], &[]).validate().unwrap_err().to_string();
            assert!(error.starts_with("envVars.max_inflight: ") && error.contains(bad), "{error}");
            let annotated = function(&[(MAX_INFLIGHT, "1")], &[(annotation::MAX_INFLIGHT, bad)]);
            let error = annotated.validate().unwrap_err().to_string();
            assert!(error.starts_with("flint.dev/max-inflight: "), "{error}");
        }
    }
}
