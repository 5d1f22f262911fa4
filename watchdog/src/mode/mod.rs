//! The ways in which requests reach a function (contract 5.4 to 5.7).

pub mod files;
pub mod fork;
pub mod http;

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use provider::parse_duration;
use tokio::time::Instant;

/// Milliseconds that are left for the call. The gateway says it to the watchdog, and the watchdog
/// to the function.
const DEADLINE: HeaderName = HeaderName::from_static("x-faas-deadline");

/// The time that a call has.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    start: Instant,
    limit: Option<Duration>,
}

impl Allowed {
    /// From now on: the function's limit, what the hop before has left, or what the caller asks
    /// for with `X-Timeout`, whichever is least. What is no number or duration is as good as
    /// nothing: nobody can get more time with it than the function's limit.
    fn new(limit: Option<Duration>, headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let asked = text(&HeaderName::from_static("x-timeout")).and_then(parse_duration);
        let left = text(&DEADLINE).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let left = left.and_then(|text| text.parse().ok()).map(Duration::from_millis);
        let all = [limit, asked.filter(|asked| !asked.is_zero()), left];
        Self { start: Instant::now(), limit: all.into_iter().flatten().min() }
    }

    /// When it is over; `None` is never.
    fn deadline(&self) -> Option<Instant> {
        self.limit.map(|limit| self.start + limit)
    }

    /// Whether it was over before it began.
    fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| limit.is_zero())
    }

    /// The limit; zero is none.
    fn limit(&self) -> Duration {
        self.limit.unwrap_or_default()
    }

    /// Milliseconds that are left now; `None` when there is no limit.
    fn left_ms(&self) -> Option<u64> {
        let left = self.deadline()?.saturating_duration_since(Instant::now()).as_millis();
        Some(u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// Tells the function what is left now; nothing, when there is no limit.
    fn tell(&self, headers: &mut HeaderMap) {
        match self.left_ms() {
            Some(left) => drop(headers.insert(DEADLINE, HeaderValue::from(left))),
            None => drop(headers.remove(DEADLINE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn of(limit: Option<Duration>, headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        Allowed::new(limit, &map(headers)).limit
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        headers.iter().map(header).collect()
    }

    #[test]
    fn a_caller_can_only_shorten() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(of(MINUTE, &[("x-timeout", "5s")]), seconds(5));
        assert_eq!(of(MINUTE, &[("x-timeout", "5m")]), MINUTE);
        assert_eq!(of(MINUTE, &[("x-timeout", "soon")]), MINUTE);
        assert_eq!(of(MINUTE, &[("x-timeout", "0s")]), MINUTE);
        assert_eq!(of(None, &[("x-timeout", "5s")]), seconds(5));
        assert_eq!(of(None, &[]), None);
    }

    #[test]
    fn the_hop_before_can_only_shorten_too() {
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(of(MINUTE, &[("x-faas-deadline", "1500")]), millis(1500));
        assert_eq!(of(MINUTE, &[("x-faas-deadline", "60001")]), MINUTE);
        assert_eq!(of(None, &[("x-faas-deadline", "7")]), millis(7));
        let both = [("x-faas-deadline", "7000"), ("x-timeout", "5s")];
        assert_eq!(of(MINUTE, &both), millis(5000));
        for rubbish in ["", "soon", "-1", "+5", "1.5", " 5", "5s", "18446744073709551616"] {
            assert_eq!(of(MINUTE, &[("x-faas-deadline", rubbish)]), MINUTE, "{rubbish}");
        }
        let over = Allowed::new(MINUTE, &map(&[("x-faas-deadline", "0")]));
        assert!(over.is_over() && !Allowed::new(None, &HeaderMap::new()).is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn the_function_is_told_what_is_left() {
        let mut headers = map(&[("x-faas-deadline", "5000")]);
        let allowed = Allowed::new(MINUTE, &headers);
        tokio::time::advance(Duration::from_millis(1250)).await;
        allowed.tell(&mut headers);
        assert_eq!(headers[DEADLINE], "3750");
        tokio::time::advance(Duration::from_secs(10)).await;
        allowed.tell(&mut headers);
        assert_eq!(headers[DEADLINE], "0");

        let mut rubbish = map(&[("x-faas-deadline", "soon")]);
        Allowed::new(None, &rubbish).tell(&mut rubbish);
        assert!(rubbish.is_empty());
        let endless = "18446744073709551615";
        let mut headers = map(&[("x-faas-deadline", endless)]);
        Allowed::new(None, &headers).tell(&mut headers);
        assert_eq!(headers[DEADLINE], endless);
    }
}
