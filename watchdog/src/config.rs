//! What the environment says (contract 5.2, 5.11), in every spelling that is in use.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::uri::PathAndQuery;
use provider::parse_duration;

use crate::upstream::Upstream;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_LINE_BYTES: usize = 64 << 10;
/// What `log_buffer_size=-1` (no bound) means here: even that needs one.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A variable that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid configuration: {name}={value:?}: {reason}")]
pub struct ConfigError {
    /// The variable, as it was spelled.
    pub name: String,
    /// Its value; empty when it is missing.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How requests reach the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process that serves HTTP itself.
    Http(Upstream),
    /// One process per request; its output is passed on as it comes.
    Streaming,
    /// One process per request; its output is passed on when it has ended.
    Serializing,
    /// As the classic watchdog does it.
    Classic(Classic),
    /// Files of this directory.
    Static(PathBuf),
}

/// What only the classic watchdog has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classic {
    /// Whether the process's stderr is part of the answer.
    pub combine_output: bool,
    /// Whether the process gets the request as JSON, headers included.
    pub marshal_request: bool,
    /// Whether the process gets the request's headers as variables.
    pub cgi_headers: bool,
    /// Whether the output is logged.
    pub write_debug: bool,
    /// Whether the request's headers are logged.
    pub debug_headers: bool,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How requests reach the function.
    pub mode: Mode,
    /// `mode` as it was given.
    pub mode_name: String,
    /// Program and arguments; empty in static mode.
    pub process: Vec<String>,
    /// `fprocess` as it was given.
    pub process_text: String,
    /// Where calls are taken; 0 takes any free port, `None` is on no port.
    pub port: Option<u16>,
    /// Where metrics are served; 0 takes any free port, `None` is on no port.
    pub metrics_port: Option<u16>,
    /// A unix socket where calls are taken as well. It exists while the function is ready.
    pub listen_socket: Option<PathBuf>,
    /// How long a request's head may take.
    pub read_timeout: Duration,
    /// How long calls in flight may go on at shutdown.
    pub write_timeout: Duration,
    /// How long one call may take.
    pub exec_timeout: Option<Duration>,
    /// How long calls are still taken after the signal to end.
    pub healthcheck_interval: Duration,
    /// Content type of answers that a process per request makes.
    pub content_type: Option<HeaderValue>,
    /// Whether chunked requests are collected, so that the function sees their length.
    pub buffer_http: bool,
    /// Most calls at a time; 0 is no limit.
    pub max_inflight: usize,
    /// Whether the function's log lines get date and stream before them.
    pub prefix_logs: bool,
    /// Longest log line; longer ones are split.
    pub line_bytes: usize,
    /// Whether access log lines end with the call id.
    pub log_callid: bool,
    /// What `/_/ready` asks the function.
    pub ready_path: Option<PathAndQuery>,
    /// File that exists while the function is ready.
    pub lock_file: Option<PathBuf>,
    /// The folder for files that live as long as the watchdog.
    pub tmp_dir: PathBuf,
}

/// The file that exists while the function is ready; `-run-healthcheck` looks for it.
pub fn lock_file(environment: &HashMap<String, String>) -> PathBuf {
    tmp_dir(environment).join(".lock")
}

fn tmp_dir(environment: &HashMap<String, String>) -> PathBuf {
    let dir = environment.get("TMPDIR").filter(|dir| !dir.is_empty());
    dir.map_or("/tmp", String::as_str).into()
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// The first variable that cannot be used.
    pub fn read(environment: &HashMap<String, String>) -> Result<Self, ConfigError> {
        let env = Env(environment);
        env.refuse_jwt()?;
        let mode_name = env.text(&["mode"]).map_or("streaming", |(_, mode)| mode);
        let mode = env.mode(mode_name)?;
        let classic = matches!(mode, Mode::Classic(_));
        let (process_text, process) = env.process(&mode)?;
        let write_timeout = env.write_timeout(classic)?;
        let listen_socket = env.text(&["listen_socket"]).map(|(_, path)| PathBuf::from(path));
        // Who uses the socket takes the function out of service before the signal to end.
        let drain = if listen_socket.is_some() { Duration::ZERO } else { write_timeout };
        let exec_default = if classic { Duration::ZERO } else { DEFAULT_TIMEOUT };
        let exec_timeout = env.duration("exec_timeout", exec_default)?;
        let suppress_lock = env.flag(&["suppress_lock"], false)?;
        Ok(Self {
            mode_name: mode_name.to_owned(),
            process,
            process_text,
            port: env.call_port(listen_socket.is_some())?,
            metrics_port: env.port("metrics_port", 8081)?,
            read_timeout: env.duration("read_timeout", DEFAULT_TIMEOUT)?,
            write_timeout,
            exec_timeout: (!exec_timeout.is_zero()).then_some(exec_timeout),
            healthcheck_interval: env.duration("healthcheck_interval", drain)?,
            content_type: env.content_type(classic)?,
            buffer_http: env.flag(&["buffer_http", "http_buffer_req_body"], false)?,
            max_inflight: env.max_inflight()?,
            prefix_logs: env.flag(&["prefix_logs"], true)?,
            line_bytes: env.line_bytes()?,
            log_callid: env.flag(&["log_callid", "log_call_id"], false)?,
            ready_path: env.ready_path()?,
            lock_file: (!suppress_lock).then(|| lock_file(environment)),
            tmp_dir: tmp_dir(environment),
            listen_socket,
            mode,
        })
    }
}

struct Env<'a>(&'a HashMap<String, String>);

impl Env<'_> {
    /// The last of these spellings that has a value, and how it is spelled.
    fn text<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &str)> {
        names.iter().rev().find_map(|name| {
            let value = self.0.get(*name).map(|value| value.trim())?;
            (!value.is_empty()).then_some((*name, value))
        })
    }

    /// Whether any of these spellings says so.
    fn flag(&self, names: &[&str], default: bool) -> Result<bool, ConfigError> {
        let mut answer = None;
        for name in names {
            let Some((_, value)) = self.text(&[name]) else { continue };
            let yes = parse_bool(value).ok_or_else(|| invalid(name, value, "not true or false"))?;
            answer = Some(answer.unwrap_or(false) || yes);
        }
        Ok(answer.unwrap_or(default))
    }

    fn duration(&self, name: &str, default: Duration) -> Result<Duration, ConfigError> {
        let Some((_, value)) = self.text(&[name]) else { return Ok(default) };
        let reason = "not a duration such as 30s or 1m30s, nor a number of seconds";
        parse_duration(value).ok_or_else(|| invalid(name, value, reason))
    }

    fn write_timeout(&self, classic: bool) -> Result<Duration, ConfigError> {
        let timeout = self.duration("write_timeout", DEFAULT_TIMEOUT)?;
        if timeout.is_zero() && !classic {
            return Err(invalid("write_timeout", "0s", "HTTP write timeout must be over 0s"));
        }
        Ok(timeout)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some((_, value)) = self.text(&[name]) else { return Ok(None) };
        let number = value.parse().map_err(|_| invalid(name, value, "not a number in range"));
        number.map(Some)
    }

    /// A port, or `none`.
    fn port(&self, name: &str, default: u16) -> Result<Option<u16>, ConfigError> {
        match self.text(&[name]) {
            Some((_, "none")) => Ok(None),
            _ => Ok(Some(self.number(name)?.unwrap_or(default))),
        }
    }

    fn call_port(&self, has_socket: bool) -> Result<Option<u16>, ConfigError> {
        match self.port("port", 8080)? {
            None if !has_socket => {
                Err(invalid("port", "none", "then calls need a socket: set listen_socket"))
            }
            port => Ok(port),
        }
    }

    fn max_inflight(&self) -> Result<usize, ConfigError> {
        Ok(self.number("max_inflight")?.unwrap_or(0))
    }

    fn line_bytes(&self) -> Result<usize, ConfigError> {
        match self.number::<i64>("log_buffer_size")? {
            None => Ok(DEFAULT_LINE_BYTES),
            Some(-1) => Ok(MAX_LINE_BYTES),
            Some(bytes) if bytes > 0 => Ok((bytes as usize).min(MAX_LINE_BYTES)),
            Some(bytes) => {
                Err(invalid("log_buffer_size", &bytes.to_string(), "must be -1 or over 0"))
            }
        }
    }

    fn mode(&self, name: &str) -> Result<Mode, ConfigError> {
        let reason = match name {
            "http" => return self.upstream().map(Mode::Http),
            "streaming" => return Ok(Mode::Streaming),
            "serializing" => return Ok(Mode::Serializing),
            "classic" => return self.classic().map(Mode::Classic),
            "static" => {
                let path = self.text(&["static_path"]).map_or("/home/app/public", |(_, p)| p);
                return Ok(Mode::Static(path.into()));
            }
            "inproc" => "is for programs that contain the watchdog; use http",
            "afterburn" => "was removed; use http",
            _ => "not one of streaming, serializing, http, static, classic",
        };
        Err(invalid("mode", name, reason))
    }

    fn upstream(&self) -> Result<Upstream, ConfigError> {
        let Some((name, value)) = self.text(&["upstream_url", "http_upstream_url"]) else {
            return Err(invalid("upstream_url", "", "needed in http mode"));
        };
        Upstream::parse(value).map_err(|reason| invalid(name, value, reason))
    }

    fn classic(&self) -> Result<Classic, ConfigError> {
        Ok(Classic {
            combine_output: self.flag(&["combine_output"], true)?,
            marshal_request: self.flag(&["marshal_request"], false)?,
            cgi_headers: self.flag(&["cgi_headers"], true)?,
            write_debug: self.flag(&["write_debug"], false)?,
            debug_headers: self.flag(&["debug_headers"], false)?,
        })
    }

    fn process(&self, mode: &Mode) -> Result<(String, Vec<String>), ConfigError> {
        if matches!(mode, Mode::Static(_)) {
            return Ok(Default::default());
        }
        let Some((name, value)) = self.text(&["fprocess", "function_process"]) else {
            return Err(invalid("fprocess", "", "needed: the command that is the function"));
        };
        match shell_words::split(value) {
            Ok(words) if !words.is_empty() => Ok((value.to_owned(), words)),
            Ok(_) => Err(invalid(name, value, "names no command")),
            Err(error) => Err(invalid(name, value, &error.to_string())),
        }
    }

    fn content_type(&self, classic: bool) -> Result<Option<HeaderValue>, ConfigError> {
        match self.text(&["content_type"]) {
            Some((name, value)) => HeaderValue::from_str(value)
                .map(Some)
                .map_err(|_| invalid(name, value, "not a header value")),
            None if classic => Ok(None),
            None => Ok(Some(HeaderValue::from_static("application/octet-stream"))),
        }
    }

    fn ready_path(&self) -> Result<Option<PathAndQuery>, ConfigError> {
        let Some((name, value)) = self.text(&["ready_path"]) else { return Ok(None) };
        let path = if value.starts_with('/') { value.to_owned() } else { format!("/{value}") };
        path.parse().map(Some).map_err(|_| invalid(name, value, "not a path"))
    }

    /// Who asks for calls to be authenticated must not get an open function instead.
    fn refuse_jwt(&self) -> Result<(), ConfigError> {
        if self.flag(&["jwt_auth"], false)? {
            let reason = "calls cannot be authenticated by this watchdog";
            return Err(invalid("jwt_auth", "true", reason));
        }
        Ok(())
    }
}

fn invalid(name: &str, value: &str, reason: &str) -> ConfigError {
    ConfigError { name: name.to_owned(), value: value.to_owned(), reason: reason.to_owned() }
}

/// What Go's `strconv.ParseBool` takes.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::read(&pairs.collect())
    }

    fn good(pairs: &[(&str, &str)]) -> Config {
        read(pairs).expect("good configuration")
    }

    #[test]
    fn defaults() {
        let config = good(&[("fprocess", "cat")]);
        assert_eq!(config.mode, Mode::Streaming);
        assert_eq!((config.port, config.metrics_port), (Some(8080), Some(8081)));
        assert_eq!(config.exec_timeout, Some(DEFAULT_TIMEOUT));
        assert_eq!(config.healthcheck_interval, DEFAULT_TIMEOUT);
        assert_eq!(config.content_type.expect("a type"), "application/octet-stream");
        assert_eq!(config.lock_file, Some("/tmp/.lock".into()));
        assert_eq!(config.line_bytes, 65536);
        assert!(config.prefix_logs && !config.log_callid && !config.buffer_http);
    }

    #[test]
    fn every_spelling_counts_and_the_second_wins() {
        let config = good(&[
            ("fprocess", "a"),
            ("function_process", "b 'c d'"),
            ("mode", "http"),
            ("upstream_url", "http://127.0.0.1:1"),
            ("http_upstream_url", "http://127.0.0.1:2"),
            ("http_buffer_req_body", "1"),
            ("log_call_id", "true"),
            ("write_timeout", "1m5s"),
            ("exec_timeout", "0"),
            ("ready_path", "healthy"),
            ("suppress_lock", "true"),
        ]);
        assert_eq!(config.process, ["b", "c d"]);
        assert_eq!(config.mode, Mode::Http(Upstream::parse("http://127.0.0.1:2").expect("good")));
        assert!(config.buffer_http && config.log_callid);
        assert_eq!(config.write_timeout, Duration::from_secs(65));
        assert_eq!(config.healthcheck_interval, Duration::from_secs(65));
        assert_eq!((config.exec_timeout, config.lock_file), (None, None));
        assert_eq!(config.ready_path.expect("a path"), "/healthy");
        assert!(good(&[("fprocess", "a"), ("log_callid", "1")]).log_callid);
        assert!(good(&[("fprocess", "a"), ("buffer_http", "1")]).buffer_http);
    }

    #[test]
    fn classic_has_its_own_defaults() {
        let config = good(&[("fprocess", "cat"), ("mode", "classic"), ("TMPDIR", "/t")]);
        let Mode::Classic(classic) = config.mode else { panic!("not classic") };
        assert!(classic.combine_output && classic.cgi_headers && !classic.marshal_request);
        assert_eq!((config.exec_timeout, config.content_type), (None, None));
        assert_eq!(config.lock_file, Some("/t/.lock".into()));
    }

    #[test]
    fn a_socket_needs_no_window_before_the_end() {
        let config = good(&[("fprocess", "cat"), ("listen_socket", "/run/flint/fn.sock")]);
        assert_eq!(config.healthcheck_interval, Duration::ZERO);
    }

    #[test]
    fn ports_can_be_left_out_when_there_is_a_socket() {
        let none = [("fprocess", "cat"), ("port", "none"), ("metrics_port", "none")];
        let config = good(&[none[0], none[1], none[2], ("listen_socket", "/run/flint/fn.sock")]);
        assert_eq!((config.port, config.metrics_port), (None, None));
        assert_eq!(good(&[none[0], none[2]]).metrics_port, None);
        let error = read(&none).expect_err("nowhere to be called");
        assert_eq!(error.name, "port");
        assert!(error.reason.contains("listen_socket"), "{error}");
    }

    #[test]
    fn static_mode_needs_no_process() {
        assert_eq!(good(&[("mode", "static")]).mode, Mode::Static("/home/app/public".into()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("mode", "inproc"),
            ("mode", "warp"),
            ("fprocess", "sh -c 'x"),
            ("port", "99999"),
            ("metrics_port", "x"),
            ("write_timeout", "0"),
            ("write_timeout", "0s"),
            ("exec_timeout", "-1s"),
            ("read_timeout", "soon"),
            ("max_inflight", "-1"),
            ("log_buffer_size", "big"),
            ("log_buffer_size", "0"),
            ("prefix_logs", "maybe"),
            ("ready_path", "/a b"),
            ("jwt_auth", "true"),
        ];
        for (name, value) in cases {
            let mut pairs = vec![("fprocess", "cat")];
            pairs.retain(|(other, _)| *other != name);
            pairs.push((name, value));
            let error = read(&pairs).expect_err(name);
            assert_eq!(error.name, name, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(read(&[]).expect_err("no process").name, "fprocess");
        let http = read(&[("fprocess", "a"), ("mode", "http")]);
        assert_eq!(http.expect_err("no upstream").name, "upstream_url");
    }
}
