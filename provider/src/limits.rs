//! What bounds the calls of a function: how many a replica takes at a time, how many wait.

use crate::function::annotation;
use crate::{Error, Function, Result};

/// The watchdog's variable for the most calls at a time.
const MAX_INFLIGHT: &str = "max_inflight";

impl Function {
    /// The most calls that one replica takes at a time: the variable `max_inflight`, else the
    /// annotation. `None`, as 0, is no limit. An error names the field.
    pub fn max_inflight(&self) -> Result<Option<u32>> {
        let given =
            |text: Option<&String>| text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
        let variable = given(self.env_vars.get(MAX_INFLIGHT));
        let annotated = given(self.annotations.get(annotation::MAX_INFLIGHT));
        let variable = variable.map(|text| number(&format!("envVars.{MAX_INFLIGHT}"), &text));
        let annotated = annotated.map(|text| number(annotation::MAX_INFLIGHT, &text));
        let (variable, annotated) = (variable.transpose()?, annotated.transpose()?);
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

    /// The variable that tells the watchdog the limit, when there is one.
    pub(crate) fn inflight_variable(&self) -> Option<(String, String)> {
        let most = self.max_inflight().ok()??;
        Some((MAX_INFLIGHT.to_owned(), most.to_string()))
    }
}

fn number(field: &str, text: &str) -> Result<u32> {
    let reason = || format!("{text:?} is not a whole number of calls; 0 is no limit");
    text.parse().map_err(|_| Error::invalid(field, reason()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(variable: Option<&str>, annotated: Option<&str>) -> Function {
        let mut function =
            Function { service: "f".into(), image: "i".into(), ..Function::default() };
        let variable = variable.map(|text| (MAX_INFLIGHT.to_owned(), text.to_owned()));
        let annotated =
            annotated.map(|text| (annotation::MAX_INFLIGHT.to_owned(), text.to_owned()));
        function.env_vars.extend(variable);
        function.annotations.extend(annotated);
        function
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
            let function = function(variable, annotated);
            assert_eq!(function.max_inflight().unwrap(), most, "{variable:?} {annotated:?}");
            let told = function.environment().get(MAX_INFLIGHT).cloned();
            let told = told.map(|text| text.trim().parse().unwrap()).filter(|n: &u32| *n > 0);
            assert_eq!(told, most, "{variable:?} {annotated:?}");
        }
    }

    #[test]
    fn calls_that_wait_have_a_bound_of_their_own() {
        let mut function = function(None, None);
        assert_eq!(function.max_queue().unwrap(), None);
        for (text, most) in [("0", 0), (" 12 ", 12)] {
            function.annotations.insert(annotation::MAX_QUEUE.to_owned(), text.to_owned());
            assert_eq!(function.max_queue().unwrap(), Some(most));
        }
        function.annotations.insert(annotation::MAX_QUEUE.to_owned(), "all".to_owned());
        let error = function.validate().unwrap_err().to_string();
        assert!(error.starts_with("flint.dev/max-queue: ") && error.contains("all"), "{error}");
    }

    #[test]
    fn a_bad_limit_is_refused_and_the_field_named() {
        for bad in ["many", "-1", "1.5", "4294967296"] {
            let error = function(Some(bad), None).validate().unwrap_err().to_string();
            assert!(error.starts_with("envVars.max_inflight: ") && error.contains(bad), "{error}");
            let error = function(Some("1"), Some(bad)).validate().unwrap_err().to_string();
            assert!(error.starts_with("flint.dev/max-inflight: "), "{error}");
        }
    }
}
