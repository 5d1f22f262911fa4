//! The ways in which requests reach a function (contract 5.4 to 5.7).

pub mod files;
pub mod fork;
pub mod http;

use std::time::Duration;

use ::http::HeaderMap;
use provider::parse_duration;

/// How long a call may take: the function's limit, or what the caller asks for with `X-Timeout`
/// when that is less.
fn time_limit(limit: Option<Duration>, headers: &HeaderMap) -> Option<Duration> {
    let asked = headers.get("x-timeout").and_then(|value| parse_duration(value.to_str().ok()?));
    let asked = asked.filter(|asked| !asked.is_zero());
    match (limit, asked) {
        (Some(limit), Some(asked)) => Some(limit.min(asked)),
        (limit, asked) => limit.or(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::{HeaderName, HeaderValue};

    #[test]
    fn a_caller_can_only_shorten() {
        let minute = Some(Duration::from_secs(60));
        let of = |limit, value: &'static str| {
            let name = HeaderName::from_static("x-timeout");
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            time_limit(limit, &headers)
        };
        assert_eq!(of(minute, "5s"), Some(Duration::from_secs(5)));
        assert_eq!(of(minute, "5m"), minute);
        assert_eq!(of(minute, "soon"), minute);
        assert_eq!(of(minute, "0s"), minute);
        assert_eq!(of(None, "5s"), Some(Duration::from_secs(5)));
        assert_eq!(time_limit(None, &HeaderMap::new()), None);
    }
}
