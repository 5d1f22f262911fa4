//! How the kubelet asks whether a function is ready, and whether it lives (contract 8.2, 8.3).

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{HTTP_PORT, ProbeTimes, Settings};
use crate::{Error, Function, Result, parse_duration};

/// Where a function is asked when it names no path.
const HEALTH_PATH: &str = "/_/health";
/// What a function without an HTTP probe is asked: the watchdog makes this file.
const LOCK: [&str; 2] = ["cat", "/tmp/.lock"];
/// How often a function that has not been up yet is asked.
const STARTUP_PERIOD_SECONDS: i32 = 1;
/// How often it may fail: a start may take ten minutes before it counts as dead. Without this, a
/// function that loads for longer than its liveness allows would be killed over and over.
const STARTUP_FAILURES: i32 = 600;

/// Begins the annotations of a probe, and which of the settings it has.
#[derive(Clone, Copy)]
enum Kind {
    Ready,
    Health,
}

impl Kind {
    fn key(self, field: &str) -> String {
        let kind = match self {
            Self::Ready => "ready",
            Self::Health => "health",
        };
        format!("com.openfaas.{kind}.http.{field}")
    }
}

/// The probes of a container.
pub(super) struct Probes {
    pub(super) startup: Probe,
    pub(super) readiness: Probe,
    pub(super) liveness: Probe,
}

/// The probes that a function asks for.
pub(super) fn probes(function: &Function, settings: &Settings) -> Result<Probes> {
    let readiness = timed(function, Kind::Ready, settings.readiness)?;
    let liveness = timed(function, Kind::Health, settings.liveness)?;
    let liveness = Probe { success_threshold: Some(1), ..liveness };
    let startup = Probe {
        period_seconds: Some(STARTUP_PERIOD_SECONDS),
        failure_threshold: Some(STARTUP_FAILURES),
        timeout_seconds: liveness.timeout_seconds,
        ..Probe::default()
    };
    let live_by = handler(function, Kind::Health, settings);
    Ok(Probes {
        startup: merged(startup, live_by.clone()),
        readiness: merged(readiness, handler(function, Kind::Ready, settings)),
        liveness: merged(liveness, live_by),
    })
}

/// The path at which a function says whether it is ready, whoever asks.
pub(in super::super) fn readiness_path(function: &Function) -> String {
    path(function, Kind::Ready).unwrap_or_else(|| HEALTH_PATH.to_owned())
}

/// A probe with its times, and nothing to ask.
fn timed(function: &Function, kind: Kind, times: ProbeTimes) -> Result<Probe> {
    let number = |field: &str, default: u32, least: u32| {
        let number = integer(function, &kind.key(field), least)?.unwrap_or(default);
        Ok::<_, Error>(Some(i32::try_from(number).unwrap_or(i32::MAX)))
    };
    let delay = old_delay(function, &kind.key("initialDelay"))?;
    Ok(Probe {
        initial_delay_seconds: number(
            "initialDelaySeconds",
            delay.unwrap_or(times.initial_delay_seconds),
            0,
        )?,
        timeout_seconds: number("timeoutSeconds", times.timeout_seconds, 1)?,
        period_seconds: number("periodSeconds", times.period_seconds, 1)?,
        success_threshold: number("successThreshold", times.success_threshold, 1)?,
        failure_threshold: number("failureThreshold", times.failure_threshold, 1)?,
        ..Probe::default()
    })
}

/// A whole number that Kubernetes takes. An error names the annotation.
fn integer(function: &Function, key: &str, least: u32) -> Result<Option<u32>> {
    let Some(text) = function.annotations.get(key) else { return Ok(None) };
    match text.trim().parse::<u32>() {
        Ok(number) if number >= least && i32::try_from(number).is_ok() => Ok(Some(number)),
        _ => {
            let reason = format!("{text:?} is not a whole number of at least {least}");
            Err(Error::invalid(key, reason))
        }
    }
}

/// The delay as an old form has it, a duration; less than a second counts as one.
fn old_delay(function: &Function, key: &str) -> Result<Option<u32>> {
    let Some(text) = function.annotations.get(key) else { return Ok(None) };
    let seconds = parse_duration(text).and_then(|delay| {
        u32::try_from(delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).ok()
    });
    let bad = || Error::invalid(key, format!("{text:?} is not a duration such as 30s"));
    seconds.map(Some).ok_or_else(bad)
}

/// What is asked: a path that is named makes it an HTTP probe whatever the settings say.
fn handler(function: &Function, kind: Kind, settings: &Settings) -> Probe {
    match path(function, kind) {
        Some(path) => http(path),
        None if settings.http_probe => http(HEALTH_PATH.to_owned()),
        None => exec(),
    }
}

fn http(path: String) -> Probe {
    let port = IntOrString::Int(HTTP_PORT);
    let get = HTTPGetAction { path: Some(path), port, ..HTTPGetAction::default() };
    Probe { http_get: Some(get), ..Probe::default() }
}

fn exec() -> Probe {
    let exec = ExecAction { command: Some(LOCK.map(str::to_owned).to_vec()) };
    Probe { exec: Some(exec), ..Probe::default() }
}

/// The path that annotations name; that of readiness is that of health when it has none of its own.
fn path(function: &Function, kind: Kind) -> Option<String> {
    let named = |kind: Kind| {
        let text = function.annotations.get(&kind.key("path"))?.trim();
        (!text.is_empty()).then(|| format!("/{}", text.trim_start_matches('/')))
    };
    match kind {
        Kind::Ready => named(Kind::Ready).or_else(|| named(Kind::Health)),
        Kind::Health => named(Kind::Health),
    }
}

fn merged(times: Probe, handler: Probe) -> Probe {
    Probe { exec: handler.exec, http_get: handler.http_get, ..times }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(annotations: &[(&str, &str)]) -> Function {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Function { annotations: annotations.iter().map(pair).collect(), ..Function::default() }
    }

    fn path_of(probe: &Probe) -> Option<&str> {
        probe.http_get.as_ref()?.path.as_deref()
    }

    #[test]
    fn without_annotations_the_settings_say_how() {
        let exec = probes(&function(&[]), &Settings::default()).unwrap();
        assert_eq!(exec.readiness.exec.unwrap().command.unwrap(), LOCK);
        assert!(exec.liveness.http_get.is_none());
        let settings = Settings { http_probe: true, ..Settings::default() };
        let http = probes(&function(&[]), &settings).unwrap();
        assert_eq!(path_of(&http.readiness), Some(HEALTH_PATH));
        assert!(http.liveness.exec.is_none());
    }

    #[test]
    fn readiness_has_the_path_of_health_unless_it_names_its_own() {
        let health = ("com.openfaas.health.http.path", "/live");
        let ready = ("com.openfaas.ready.http.path", "_/ready");
        let both = probes(&function(&[health]), &Settings::default()).unwrap();
        assert_eq!(
            (path_of(&both.readiness), path_of(&both.liveness)),
            (Some("/live"), Some("/live"))
        );
        let apart = probes(&function(&[health, ready]), &Settings::default()).unwrap();
        assert_eq!(path_of(&apart.readiness), Some("/_/ready"));
        let alone = probes(&function(&[ready]), &Settings::default()).unwrap();
        assert!(alone.liveness.exec.is_some() && alone.readiness.exec.is_none());
        assert_eq!(readiness_path(&function(&[ready])), "/_/ready");
        assert_eq!(readiness_path(&function(&[health])), "/live");
        assert_eq!(readiness_path(&function(&[])), HEALTH_PATH);
    }

    #[test]
    fn times_come_from_annotations_then_from_the_settings() {
        let annotated = function(&[
            ("com.openfaas.health.http.initialDelaySeconds", "30"),
            ("com.openfaas.health.http.failureThreshold", "9"),
            ("com.openfaas.ready.http.periodSeconds", "1"),
            ("com.openfaas.ready.http.successThreshold", "2"),
            ("com.openfaas.ready.http.initialDelay", "1500ms"),
        ]);
        let probes = probes(&annotated, &Settings::default()).unwrap();
        let live = &probes.liveness;
        assert_eq!((live.initial_delay_seconds, live.failure_threshold), (Some(30), Some(9)));
        assert_eq!((live.period_seconds, live.success_threshold), (Some(2), Some(1)));
        let ready = &probes.readiness;
        assert_eq!((ready.period_seconds, ready.success_threshold), (Some(1), Some(2)));
        assert_eq!(ready.initial_delay_seconds, Some(2));
    }

    #[test]
    fn a_bad_number_names_its_annotation() {
        for (key, text) in [
            ("com.openfaas.health.http.periodSeconds", "0"),
            ("com.openfaas.health.http.timeoutSeconds", "1s"),
            ("com.openfaas.ready.http.failureThreshold", "-1"),
            ("com.openfaas.ready.http.initialDelaySeconds", "2147483648"),
            ("com.openfaas.ready.http.initialDelay", "soon"),
        ] {
            let error = probes(&function(&[(key, text)]), &Settings::default()).err().unwrap();
            let error = error.to_string();
            assert!(error.starts_with(&format!("{key}: {text:?} ")), "{error}");
        }
    }
}
